"""Model providers: what each dialect's bytes mean. Bytes in, bytes and usage out; no network, no stores.

A dialect is a file; a provider that speaks a known dialect is a row of `registry`.
"""
