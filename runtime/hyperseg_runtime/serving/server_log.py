"""Why a server ended, from what it wrote."""

import re

FAILED = re.compile(r"failed to load '(\w+)' version \d+: \w[\w ]*: (.*?)(?:\\n\\nAt:|\"$|$)", re.M)
ERROR = re.compile(r"E\d{4} |error: ")
SHOWN_LINES = 15


def reasons(log: str) -> str:
    """What kept models from loading, each reason once; without any, the last lines that tell of errors, or the last."""
    found: dict[str, list[str]] = {}
    for model, reason in FAILED.findall(log):
        found.setdefault(reason, []).append(model)
    if found:
        return "\n".join(f"{', '.join(models)}: {reason}" for reason, models in found.items())
    lines = [line for line in log.splitlines() if line and line[0] not in "|+"]
    errors = [line for line in lines if ERROR.match(line)]
    return "\n".join((errors or lines)[-SHOWN_LINES:])
