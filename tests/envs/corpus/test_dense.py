from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from json import dumps, loads

import numpy as np
import pytest

from evolvent.envs.corpus import Corpus, Dense, Document, EmbeddingsAt, Hit, fuse, pool
from evolvent.envs.corpus.dense import vectors
from evolvent.errors import BadInput, InfrastructureError
from evolvent.models.spec import ModelSpec, build
from evolvent.models.tokenizer import build_tokenizer


def directions(texts):
    """Texts as points: how many a's and how many b's."""
    return [[text.count("a"), text.count("b")] for text in texts]


def test_the_nearest_direction_comes_first_whatever_its_length():
    index = Dense(["b", "aaab", "aaaaaaaa", "bb"], directions)
    assert [hit.position for hit in index.rank("aa", 4)] == [2, 1, 0, 3]  # cosines 1, 3/sqrt(10), 0, 0
    assert index.rank("aa", 2)[1].score == pytest.approx(3 / 10**0.5)
    assert index.rank_vector(np.array([0.0, 5.0]), 1) == (Hit(0, pytest.approx(1.0)),)


def test_a_text_fused_from_two_rankings_earns_what_its_places_are_worth():
    first, second = [Hit(7, 9.0), Hit(3, 8.0)], [Hit(3, 0.4), Hit(5, 0.3)]
    assert [(h.position, h.score) for h in fuse([first, second])] == [
        (3, pytest.approx(1 / 62 + 1 / 61)),
        (7, pytest.approx(1 / 61)),
        (5, pytest.approx(1 / 62)),
    ]
    assert fuse([[], []]) == ()


def test_embeddings_bring_up_what_shares_no_word():
    pytest.importorskip("bm25s")
    documents = (Document("x", "ab ab"), Document("y", "bbb"), Document("z", "aaa"))
    assert [d.doc_id for d, _ in Corpus(documents).shelf.search("ab", 3)] == ["x"]
    assert [d.doc_id for d, _ in Corpus(documents, embed=directions).shelf.search("ab", 3)][:1] == ["x"]
    assert len(Corpus(documents, embed=directions).shelf.search("ab", 3)) == 3


def test_vectors_that_are_no_vectors_are_refused():
    for odd in (lambda t: [[1.0]], lambda t: [1.0] * len(t), lambda t: [[float("nan")]] * len(t)):
        with pytest.raises(BadInput, match="one row of finite numbers"):
            vectors(odd, ["a", "b"])


def test_a_models_hidden_states_are_unit_vectors_that_do_not_depend_on_the_batch():
    tokenizer = build_tokenizer()
    model = build(ModelSpec(depth=1), tokenizer, 0)
    together = pool(model, tokenizer, ["short", "a rather longer text", ""])
    assert together.shape == (3, 32)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert pool(model, tokenizer, ["short"])[0] == pytest.approx(together[0], abs=1e-5)


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = loads(self.rfile.read(int(self.headers["content-length"])))
        rows = [{"index": i, "embedding": [len(t), 1.0]} for i, t in enumerate(asked["input"])]
        reply = dumps({"data": rows[::-1]}).encode()
        self.send_response(200 if self.path == "/v1/embeddings" else 404)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def test_a_server_gives_embeddings_in_the_order_of_the_texts_and_one_that_does_not_is_infrastructure():
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert EmbeddingsAt(f"{url}/v1", "any")(["a", "bbb"]).tolist() == [[1, 1], [3, 1]]
        with pytest.raises(InfrastructureError, match="no embeddings"):
            EmbeddingsAt(f"{url}/v2", "any")(["a"])
    finally:
        server.shutdown()
        server.server_close()
