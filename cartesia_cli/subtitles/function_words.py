"""Function words of some languages, such as articles and prepositions, by whether a line may break beside them.

Data only. Text in a language that is missing here is broken by its punctuation and pauses alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Grammar(NamedTuple):
    """The function words of a language, by where a line may break.

    openers    conjunctions and prepositions: break before them, not after
    leaders    articles, possessives, subject pronouns, auxiliaries: no break after
    trailers   object pronouns, particles: no break before
    links      prepositions that join two nouns: no break after, and a break before is not preferred
    verbs      auxiliaries, which are leaders, too: a pronoun before one is its subject, not an object
    """

    openers: frozenset[str]
    leaders: frozenset[str]
    trailers: frozenset[str]
    links: frozenset[str]
    verbs: frozenset[str]


def _grammar(openers: str = "", leaders: str = "", trailers: str = "", links: str = "", verbs: str = "") -> Grammar:
    lists = openers, f"{leaders} {verbs}", trailers, links, verbs
    return Grammar(*(frozenset(words.split()) for words in lists))


NO_GRAMMAR = _grammar()
GRAMMARS = {
    "en": _grammar(
        "and but or nor because although though while when where if unless until since before after whether as than "
        "that which who whose what how why about above across against along among around at behind below between "
        "beyond by during except for from in inside into near on onto over through to toward towards under upon "
        "with without",
        "a an the this these those my your his her its our their no every each some any there i you he she it we they "
        "i'm i'll i've i'd you're you've he's she's it's that's there's we're we've they're not mr. mrs. ms. dr. prof. "
        "st.",
        "me him us them it you myself himself herself itself themselves percent o'clock",
        "of",
        "is are was were be been being am have has had do does did don't will would can can't could should must may "
        "might",
    ),
    "de": _grammar(
        "und oder aber denn sondern weil dass ob wenn als während obwohl damit nachdem bevor bis in im an am auf aus "
        "bei beim mit nach von vom vor zu zum zur über unter zwischen durch für gegen ohne um seit wegen wie",
        "der die das den dem des ein eine einen einem einer eines kein keine keinen keinem keiner mein meine meinen "
        "meinem meiner dein deine sein seine seinen seinem seiner ihr ihre ihren ihrem ihrer unser unsere unseren "
        "dieser diese dieses diesen diesem jeder jede jedes ich du er wir sie es man nicht sehr so "
        "viele alle ist sind war waren hat haben hatte hatten wird werden wurde "
        "herr frau dr. prof.",
        "mich dich sich mir dir ihm ihn uns euch ich du er wir man prozent uhr",
    ),
    "fr": _grammar(
        "et ou mais donc car ni que qui quand lorsque comme si parce puisque pour dans sur sous avec sans chez par "
        "entre vers depuis pendant avant après contre à au aux en où dont qu'",
        "le la les un une ce cet cette ces mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs je tu il "
        "elle on nous vous ils elles ne se me te y pas plus jamais très tout tous toute toutes "
        "chaque plusieurs quelques est sont était étaient sera a ont avait avaient ai avons avez j'ai c'est n'est "
        "s'est m'a t'a l'a n'a m'ont l'ont n'ont m. mme dr",
        "moi toi lui eux pas",
        "de du des d'",
    ),
    "es": _grammar(
        "y e o u pero sino porque que quien cuando donde como si aunque mientras a al ante con contra desde en "
        "entre hacia hasta para por según sin sobre tras",
        "el la los las un una unos unas mi mis tu tus su sus nuestro nuestra este esta estos estas ese esa esos esas "
        "yo tú él ella nosotros ellos ellas me te se lo le les nos no muy todo toda todos todas cada "
        "otro otra tanto tanta tantos tantas mucho mucha muchos muchas es son "
        "era eran ha han he hemos había habían está están sr. sra. dr.",
        "",
        "de del",
    ),
    "it": _grammar(
        "e ed o ma perché che chi quando dove come se anche mentre a al alla ai da dal dalla in all' dall' nell' "
        "nel nella con su sul sulla per tra fra",
        "il lo la i gli le un uno una mio mia tuo tua suo sua nostro nostra questo questa quel quella io tu lui lei "
        "noi voi loro mi ti si ci vi non molto è sono era ha hanno sig. dott.",
        "",
        "di del dello della dei degli delle d' dell'",
    ),
    "pt": _grammar(
        "e ou mas porque que quem quando onde como se embora enquanto a ao à em no na nos nas com "
        "contra desde entre para por pelo pela sem sobre até",
        "o os as um uma uns umas meu minha seu sua nosso nossa este esta esse essa aquele aquela eu tu ele ela nós "
        "eles elas você me te lhe não muito é são era tem sr. sra. dr.",
        "",
        "de do da dos das",
    ),
    "ja": _grammar(
        trailers="は が を に で と も の へ や か ね よ から まで より です ます でし まし た て ん ない だ"
    ),
    "zh": _grammar(trailers="的 地 得 了 着 著 过 過 吗 嗎 呢 吧 啊 们 們"),
}
