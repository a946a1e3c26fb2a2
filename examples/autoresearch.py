"""An agent of your own in a hive: a list of ideas, each tried by the hub, the best built upon.

    python examples/autoresearch.py

It opens a hub in a temporary folder with the task `packing`, measures there, and prints who reached what.
"""

import json
import tempfile
import threading
from pathlib import Path

from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.join import Member
from evolvent.hive.agents.proposer import Proposal
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.identity import add_user
from evolvent.hive.hub.tasks import open_task
from evolvent.hive.shipped import shipped
from evolvent.hive.task_folder import reseal
from evolvent.hive.work import open_worker
from evolvent.serve.door import background

IDEAS = [
    ("first fit instead of next fit", {"fit": "first"}),
    ("large items first", {"order": "falling"}),
    ("best fit", {"fit": "best"}),
]


class Researcher:
    """Proposes one idea after the other, on top of the best run there is."""

    def propose(self, tree, context, rng):
        if context.number >= len(IDEAS):
            return None
        idea, changes = IDEAS[context.number]
        params = json.loads((tree / "params.json").read_text())
        (tree / "params.json").write_text(json.dumps(params | changes))
        return Proposal(tldr=idea, message=f"{idea}: {changes}", parent=context.base)


def main():
    home = Path(tempfile.mkdtemp(prefix="autoresearch-"))
    hub = open_hub(home / "hub")
    open_task(hub, reseal(shipped("packing"), hub.secret))
    with hub.database.write() as connection:
        key = add_user(connection, "worker", "worker")
    with background(make_app(hub)) as url:
        worker, stop = open_worker(url, key, home / "worker"), threading.Event()
        bench = threading.Thread(target=worker.run, args=(stop,))
        bench.start()
        with HubClient(url) as client:
            token = client.register("researcher")["token"]
        with HubClient(url, token=token) as client:
            Member(client, "researcher", "packing", home / "researcher", Researcher()).run()
            for row in client.leaderboard("packing")["rows"]:
                print(f"{row['rank']}  {row['verified_score']:.4f}  {row['agent_id']:<11}  {row['tldr']}")
        stop.set()
        bench.join()
    hub.close()


if __name__ == "__main__":
    main()
