# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Prompt templates: how a class name becomes the sentences a text encoder reads."""

from collections.abc import Callable, Sequence

PromptTemplate = str | Callable[[str], str]

# The bare name comes first: it is the form of the training captions, and `EMOJI_TEMPLATES[:1]` is the plain protocol.
EMOJI_TEMPLATES: tuple[str, ...] = ("{}", "{} emoji", "an emoji of {}", "a picture of {}")


def fill_templates(class_names: Sequence[str], templates: Sequence[PromptTemplate]) -> list[list[str]]:
    """Writes every class name into every template.

    Args:
        class_names: num_classes names, none of them blank.
        templates: num_templates strings with exactly one `{}`, or callables from a name to a sentence.

    Returns:
        num_classes lists of num_templates sentences each, in the order given.

    Raises:
        ValueError: an empty list, a bare string in place of a list, a blank name, a template without its one `{}`,
            or a callable that returns no sentence.
    """
    for argument, values in (("class_names", class_names), ("templates", templates)):
        if isinstance(values, str):
            raise ValueError(f"{argument} must be a list; got the single string {values!r}. Write [{values!r}].")
        if len(values) == 0:
            raise ValueError(f"{argument} is empty; give at least one.")
    for index, name in enumerate(class_names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"class_names[{index}] is {name!r}; every class needs a name that is not blank.")
    for index, template in enumerate(templates):
        if not callable(template) and (not isinstance(template, str) or template.count("{}") != 1):
            raise ValueError(
                f"templates[{index}] is {template!r}; a template is a string with exactly one {{}} for the name, "
                "for example 'a picture of {}', or a callable from a name to a sentence."
            )
    return [[_fill(template, index, name) for index, template in enumerate(templates)] for name in class_names]


def _fill(template: PromptTemplate, index: int, name: str) -> str:
    # replace, not format: other braces in a template, or braces in a name, are plain text.
    sentence = template(name) if callable(template) else template.replace("{}", name)
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"templates[{index}] returned {sentence!r} for {name!r}; it must return a sentence.")
    return sentence
