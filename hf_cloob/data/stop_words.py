# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""English function words: what a caption can lose and still name the same picture."""

# Unlike usual lists of stop words, this one keeps negations and directions ("no", "not", "up", "down", "over",
# "under", "off", "left" …) and what is also a thing or a number ("can", "will", "mine", "one"): "no entry", "thumbs
# down", "garbage can" and "one o'clock" would name other pictures without them.
STOP_WORDS: frozenset[str] = frozenset(
    # articles and determiners
    "a an the this that these those each every some any all both either such same own other another "
    # personal pronouns
    "i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers "
    "herself it its itself they them their theirs themselves oneself "
    # questions and relatives
    "who whom whose which what when where why how there here "
    # forms of be, have and do, and modal verbs
    "am is are was were be been being have has had having do does did doing could may must shall should "
    "would ought "
    # prepositions that say no direction
    "of at by for with about as to from in into on onto upon among between during until while per via "
    # conjunctions and adverbs that fill
    "and or but if because than then so though although whether also just only too very more most much many few "
    "again once further now still yet ever quite rather even else "
    # contractions
    "i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'll we're we've we'd "
    "we'll they're they've they'd they'll that's there's here's what's who's where's let's".split()
)
