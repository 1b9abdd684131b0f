"""Every error that dagstore raises: one class per reaction, a stable code, and what to do next.

DagError
├── NotFound      the reference, path or store does not exist          look elsewhere
│   └── Ambiguous it names more than one thing                         say more
├── Refused       a rule forbids it; nothing was recorded              change the request
│   ├── BadInput  what was handed in is malformed                      mend the input
│   └── ClaimLost somebody else holds the claim by now                 drop the work
├── Unavailable   the machine will not: disk full, read-only, locked   free or wait, then repeat
└── Damaged       the store does not say what its ids promise          run `dag fsck --full`
"""


class DagError(Exception):
    """Base of all errors; `code` is stable for scripts, `hint` says what to do next."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code


class NotFound(DagError):
    code = "not_found"


class Ambiguous(NotFound):
    code = "ambiguous"


class Refused(DagError):
    code = "refused"


class BadInput(Refused):
    code = "bad_input"


class ClaimLost(Refused):
    code = "claim_lost"


class Unavailable(DagError):
    code = "unavailable"


class Damaged(DagError):
    code = "damaged"
