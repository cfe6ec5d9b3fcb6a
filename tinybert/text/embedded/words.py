"""English function words, by class: the words that carry grammar rather than content."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARTICLES = frozenset({"a", "an", "the"})
PREPOSITIONS = _words(
    "about above across after against along among around as at before behind below between by "
    "during except for from in inside into like near of off on onto out over per since through "
    "throughout to toward towards under until up upon via with within without"
)
AUXILIARIES = _words(
    "am are be been being can cannot could did do does had has have having is may might must "
    "shall should was were will would"
)
PRONOUNS = _words(
    "all any both each either every he her him his i it its itself many me more most much my "
    "neither no none one other our same she some such that their them themselves these they this "
    "those us we what which who whom whose you your"
)
CONJUNCTIONS = _words(
    "although and because but if however nor not or otherwise so than then there therefore "
    "though thus unless when where whereas whether while also only how here too very"
)
FUNCTION_WORDS = ARTICLES | PREPOSITIONS | AUXILIARIES | PRONOUNS | CONJUNCTIONS
