"""Every error a user can meet, and the one table that gives each its status.

    KokeshiError                     INTERNAL             500
    ├── InvalidRequestError        INVALID_ARGUMENT     400
    │   ├── InvalidImageError
    │   ├── WrongTaskError
    │   └── DimensionError
    ├── UnauthenticatedError       UNAUTHENTICATED      401
    ├── PermissionDeniedError      PERMISSION_DENIED    403
    ├── NotFoundError              NOT_FOUND            404
    │   ├── ModelNotFoundError
    │   ├── CollectionNotFoundError
    │   └── ItemNotFoundError
    ├── AlreadyExistsError         ALREADY_EXISTS       409
    ├── SpaceMismatchError         FAILED_PRECONDITION  400
    ├── OverloadedError            RESOURCE_EXHAUSTED   429, with a retry delay
    │   └── TooLargeError          RESOURCE_EXHAUSTED   413
    ├── UnavailableError           UNAVAILABLE          503
    ├── DeadlineError              DEADLINE_EXCEEDED    504
    ├── CancelledError             CANCELLED            499
    ├── UnimplementedError         UNIMPLEMENTED        501
    ├── InferenceError             INTERNAL             500
    └── SetupError                 exit status of the command line; never on the wire
        ├── PluginError
        ├── ArtefactError
        ├── WeightsError
        └── VerificationError

HTTP statuses follow from the gRPC code by `google/rpc/code.proto`. The one exception is a body over
the limit: gRPC itself answers RESOURCE_EXHAUSTED, HTTP has 413 for it (RFC 9110, 15.5.14).

The message of a `KokeshiError` is shown to the client, so it never holds a path, a traceback or a
secret (a `SetupError` is shown to the operator alone and may name files). Any other exception is a
bug: the client sees "internal error" and a request id, the log sees the rest.
"""

from typing import ClassVar, Final

# gRPC status name -> HTTP status, as documented in google/rpc/code.proto.
HTTP_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "CANCELLED": 499,
}


class KokeshiError(Exception):
    """Base of all errors meant for the user."""

    code: ClassVar[str] = "INTERNAL"

    @property
    def http_status(self) -> int:
        """HTTP status of this error."""
        return HTTP_STATUS[self.code]


class InvalidRequestError(KokeshiError):
    """The request can never succeed as sent."""

    code = "INVALID_ARGUMENT"


class InvalidImageError(InvalidRequestError):
    """The bytes are not an image that is accepted."""


class WrongTaskError(InvalidRequestError):
    """The model does not answer this kind of request."""


class DimensionError(InvalidRequestError):
    """The embedding was not trained for this length."""


class UnauthenticatedError(KokeshiError):
    """No key, or one that is not known."""

    code = "UNAUTHENTICATED"


class PermissionDeniedError(KokeshiError):
    """The key lacks this right."""

    code = "PERMISSION_DENIED"


class NotFoundError(KokeshiError):
    """Something named does not exist."""

    code = "NOT_FOUND"


class ModelNotFoundError(NotFoundError):
    """No model of this name or version."""


class CollectionNotFoundError(NotFoundError):
    """No collection of this name."""


class ItemNotFoundError(NotFoundError):
    """No item of this id."""


class AlreadyExistsError(KokeshiError):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class SpaceMismatchError(KokeshiError):
    """Vectors of one embedding space were offered to another."""

    code = "FAILED_PRECONDITION"


class OverloadedError(KokeshiError):
    """A queue is full; try again after `retry_after_s` seconds."""

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLargeError(OverloadedError):
    """The request is over a size limit; it will not get smaller by waiting."""

    http_status = 413  # a constant where the base class derives it


class UnavailableError(KokeshiError):
    """Not ready now: loading, or an engine that is gone."""

    code = "UNAVAILABLE"


class DeadlineError(KokeshiError):
    """The client's deadline passed before the answer was ready."""

    code = "DEADLINE_EXCEEDED"


class CancelledError(KokeshiError):
    """The client left before the answer was ready."""

    code = "CANCELLED"


class UnimplementedError(KokeshiError):
    """Part of the protocol that this server does not answer."""

    code = "UNIMPLEMENTED"


class InferenceError(KokeshiError):
    """The model ran and failed."""


class SetupError(KokeshiError):
    """Something the operator has to mend before a command can work."""


class PluginError(SetupError):
    """A plugin is broken, or two have one name."""


class ArtefactError(SetupError):
    """A model folder is not what its card or Triton's rules say."""


class WeightsError(SetupError):
    """A checkpoint does not fit the network."""


class VerificationError(SetupError):
    """An exported graph disagrees with PyTorch."""
