"""`--page`: a web page with the text of a live session as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..output.console import Reporter
from .live_options import StreamOptions

if TYPE_CHECKING:
    from ..output.live_page import Captions


@contextmanager
def served_captions(options: StreamOptions, source: str, reporter: Reporter) -> Iterator[Captions | None]:
    """Serve the page while the block runs, and show its URL. The session puts its text into what is yielded; None
    without --page. UsageError if the page can't be served.

    source   name of what is transcribed
    """
    if not options.page:
        yield None
        return
    from ..output.live_page import TOKEN, LivePage

    if options.page_token is not None and TOKEN.fullmatch(options.page_token) is None:
        hint = "16 to 128 letters, digits, - and _, such as `openssl rand -hex 16` prints"
        raise UsageError("--page-token can't be used in a URL, or is too easy to guess", hint=hint)
    try:
        page = LivePage(
            port=options.page_port or 0, token=options.page_token, source=source, on_error=reporter.internal_error
        )
    except OSError as error:
        where = "loopback" if options.page_port is None else f"port {options.page_port}"
        hint = "choose another port with --page-port, or leave it out"
        raise UsageError(f"--page: can't listen on {where}: {error.strerror}", hint=hint) from error
    with page:
        reporter.print_lines(lambda columns, encoding: f"captions: {page.url}")
        yield page.captions
