"""verifications: the codes that a user asked for, to verify an address; never a code itself."""

from app.domain.verification import Verification
from tables.table import TableSpec

VERIFICATIONS: TableSpec[Verification] = TableSpec("verifications", Verification, until="until_ms")
