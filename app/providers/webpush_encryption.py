"""Message encryption of web push (RFC 8291) over the primitives of ``cryptography``.

No library: those for Python (http_ece, and pywebpush on top of it) come as sources only, which the image doesn't build.
Held against RFC 8291's own example, byte for byte (docs/decisions/0023-web-push.md).
"""

import os

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: The one record that a push service has to take (RFC 8030, 7.2), and what is left in it for the message: salt, record
#: size, key and its length make 86 bytes, the delimiter 1, the tag 16.
RECORD_SIZE = 4096
MAX_PLAINTEXT = RECORD_SIZE - 86 - 1 - 16


def encrypt(
    message: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    private_key: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """The body of a push, coded as ``aes128gcm`` (RFC 8188), for the browser's public key and secret.

    ``private_key`` and ``salt`` are made anew for each message, unless a test gives them.

    Raises ValueError: ``p256dh`` is no point of P-256.
    """
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)
    sender = private_key or ec.generate_private_key(ec.SECP256R1())
    public = public_bytes(sender)
    salt = salt or os.urandom(16)
    shared = sender.exchange(ec.ECDH(), receiver)
    secret = _derived(shared, auth, b"WebPush: info\0" + p256dh + public, 32)
    key = _derived(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(secret, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + RECORD_SIZE.to_bytes(4) + bytes([len(public)]) + public
    return header + AESGCM(key).encrypt(nonce, message + b"\x02", None)


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public key as an uncompressed point: what browsers call the applicationServerKey."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)
