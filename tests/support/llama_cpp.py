"""A real llama.cpp server on a tiny model of random weights: an upstream that Farebox did not write, with usage of its own.

Bytes are its tokens, so an answer is noise; what it counts is real. `python -m tests.support.llama_cpp FOLDER` is the server process.
"""

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.processes import until

ROOT = Path(__file__).parents[2]
PARTS = ("xllamacpp", "gguf", "numpy")
CONTEXT_TOKENS = 65536  # of all slots together
SLOTS = 4

_WIDTH, _HEADS, _LAYERS, _INNER = 64, 4, 2, 128
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>")
_TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class LlamaCpp:
    """The server in a process of its own; `url` has no path. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._address = folder / "address"
        self._log = folder / "llama.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.support.llama_cpp", str(self.folder)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        until(self._is_ready, 60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")[-3000:]
        if not self._address.exists():
            return False
        self.url = self._address.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def write_model(path: Path) -> None:
    """A llama of two layers, a few hundred kilobytes, the same every time."""
    import gguf  # noqa: PLC0415 - not on every platform
    import numpy as np  # noqa: PLC0415 - not on every platform

    tokens = [*_byte_names(), "th", *_SPECIAL]
    plain, special = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([plain] * (len(tokens) - len(_SPECIAL)) + [special] * 3 + [gguf.TokenType.USER_DEFINED])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)

    dice = np.random.default_rng(7)

    def random(*shape: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        return dice.normal(0.0, 0.3, shape).astype(np.float32)

    def quiet(weights: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Any:
        """Leaves the first number of every state alone."""
        weights[0] = 0
        return weights

    # The first number of a state says whether the newest token ends a line, as the prompt does: then comes the mark of a tool
    # call, and where tools are offered llama.cpp's grammar writes the rest. Special tokens never come: an answer ends at its limit.
    embedding, output = random(len(tokens), _WIDTH), random(len(tokens), _WIDTH)
    embedding[:, 0] = 0
    embedding[tokens.index("Ċ"), 0] = 8
    output[-len(_SPECIAL) :] = 0
    output[-1, 0] = 20
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", random(_WIDTH, _WIDTH))
        writer.add_tensor(f"blk.{layer}.attn_output.weight", quiet(random(_WIDTH, _WIDTH)))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", random(_INNER, _WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", quiet(random(_WIDTH, _INNER)))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(_WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_names() -> list[str]:
    """The 256 bytes as GPT-2 writes them: those that print as themselves, the others above U+0100."""
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printing else chr(next(others)) for byte in range(256)]


def _serve(folder: Path) -> None:
    """Serves until standard input ends, so that it does not outlive the tests."""
    import xllamacpp  # noqa: PLC0415 - not on every platform

    model = folder / "model.gguf"
    write_model(model)
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = SLOTS
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 8
    params.use_jinja = True
    params.warmup = False
    server = xllamacpp.Server(params)
    whole = folder / "address.new"
    whole.write_text(server.listening_address)
    whole.rename(folder / "address")
    sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
