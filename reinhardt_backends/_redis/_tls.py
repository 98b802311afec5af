"""redis-py's ``ssl_*`` options as an ``ssl.SSLContext``.

Verification is on, chain and host name both, unless an option says otherwise.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

TLS_OPTIONS: Final = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_exclude_verify_flags",
        "ssl_include_verify_flags",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
        "ssl_validate_ocsp",
        "ssl_validate_ocsp_stapled",
    }
)

_REQUIREMENTS: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def context_from(options: Mapping[str, Any]) -> ssl.SSLContext:
    """A context for these options.

    Raises:
        ValueError: An option has no meaning here, or a file cannot be read or used.
    """
    if options.get("ssl_validate_ocsp") or options.get("ssl_validate_ocsp_stapled"):
        raise ValueError("ssl_validate_ocsp is not provided; give an ssl_context that does what you need")
    trouble: str
    try:
        return _context(options)
    except (OSError, TypeError) as error:
        # ssl.SSLError is an OSError; its text names the reason and never a password.
        trouble = getattr(error, "strerror", None) or type(error).__name__
    raise ValueError(f"the ssl_ options cannot be used: {trouble}")


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    requirement = options.get("ssl_cert_reqs", "required")
    if isinstance(requirement, str):
        if requirement not in _REQUIREMENTS:
            raise ValueError("ssl_cert_reqs must be none, optional or required")
        requirement = _REQUIREMENTS[requirement]
    context.check_hostname = requirement != ssl.CERT_NONE and options.get("ssl_check_hostname") is not False
    context.verify_mode = requirement
    for flag in options.get("ssl_include_verify_flags") or ():
        context.verify_flags |= flag
    for flag in options.get("ssl_exclude_verify_flags") or ():
        context.verify_flags &= ~flag
    certificate = options.get("ssl_certfile")
    if certificate is not None:
        secret = options.get("ssl_password")
        context.load_cert_chain(certificate, options.get("ssl_keyfile"), secret.reveal if secret is not None else None)
    files = options.get("ssl_ca_certs"), options.get("ssl_ca_path"), options.get("ssl_ca_data")
    if any(files):
        context.load_verify_locations(*files)
    if options.get("ssl_min_version") is not None:
        context.minimum_version = ssl.TLSVersion(options["ssl_min_version"])
    if options.get("ssl_ciphers"):
        context.set_ciphers(options["ssl_ciphers"])
    return context
