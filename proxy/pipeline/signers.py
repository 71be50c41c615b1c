"""Credentials that sign each call anew, made from a provider's settings where it has no API key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.providers.bedrock_signing import aws_signer
from proxy.providers.google_signing import DEFAULT, google_signer

if TYPE_CHECKING:
    from proxy.provider_config import Provider
    from proxy.providers.signing import Signer


def signer_for(provider: Provider, dialect: str, base_url: str, api_key: str) -> Signer | None:
    """The signer of a provider's calls in a dialect; None where a key is sent as it is, or none. Raises ConfigError."""
    if api_key:
        return None
    if dialect == "bedrock" or provider.access_key_id or provider.profile:
        return aws_signer(
            base_url,
            provider.access_key_id,
            provider.secret_access_key,
            provider.session_token,
            provider.profile,
            provider.region,
        )
    if dialect == "vertex" or provider.service_account_file:
        return google_signer(provider.service_account_file or DEFAULT)
    return None
