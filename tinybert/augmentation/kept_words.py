"""Which words of a sentence must stay as they are: those that carry its grammar or its label."""

# Words that carry the grammar, or the label (negations), of a sentence. Common stop-word lists
# serve search instead: scikit-learn's has "system", "fire", "serious", and lacks "did" and "won't".
STOP_WORDS = frozenset(
    """
    a an the this that these those such same other another each every either neither both all any
    some few several many much more most less least enough own
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one oneself
    who whom whose which what whoever whatever whichever when where why how whether
    someone somebody something somewhere anyone anybody anything anywhere everyone everybody
    everything everywhere
    am is are was were be been being have has had having do does did doing done
    can could may might must shall should will would ought
    no not none nor never nobody nothing nowhere cannot without hardly barely scarcely
    and or but if then else because as until while since unless although though than so yet
    of at by for with about against between into through during before after above below to from
    up down in out on off over under upon within among amongst across along around behind beside
    besides beneath beyond despite except inside outside near onto per toward towards via
    again further once here there now just only very too also even still ever
    s t d m o y ll re ve ain aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn
    shan shouldn wasn weren won wouldn wont cant dont
    """.split()
)
NUMBER_WORDS = frozenset(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
    hundred thousand million billion trillion
    """.split()
)


def is_replaceable(word: str) -> bool:
    """Say whether a word may be replaced: no function word, no negation (-n't), no number."""
    lowered = word.lower().replace("\u2019", "'")
    kept = lowered in STOP_WORDS or lowered in NUMBER_WORDS
    return not (kept or lowered.endswith("n't") or any(map(str.isnumeric, word)))
