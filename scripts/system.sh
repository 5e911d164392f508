# system.sh PACKAGE...: installs missing Debian packages, where apt-get exists and may be used.
# Otherwise it says so: the tests that need them are skipped, or fail if CI is set.
set -eu

missing=""
for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' \
        || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "-- no apt-get here: tests that need one of$missing are skipped unless it is installed"
    exit 0
fi
root=""
[ "$(id -u)" = 0 ] || root="sudo -n"
echo "-- installing system packages:$missing"
install() { $root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends $missing; }
install >/dev/null 2>&1 || { $root apt-get update --quiet --quiet && install >/dev/null; } || {
    echo "-- could not install$missing: tests that need them are skipped"
    [ -z "${CI:-}" ] || exit 1
}
