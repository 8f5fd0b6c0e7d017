"""A real cluster: three primaries, and a replica of the one that holds the keys under test."""

from collections.abc import Callable

from redis.crc import key_slot

from tests.support.redis_servers import ServerProcess, wait_until

PREFIX = "{line1}"
"""Its slot, 10901, lies in the second third."""


_SLOTS, _THIRD = 16_384, 5_462


class Cluster:
    """`pair` are the node that holds the keys and its replica, in whatever order they are now."""

    def __init__(self, make_server: Callable[..., ServerProcess]) -> None:
        self.servers = [
            make_server(
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "500"),
                *("--cluster-config-file", f"node-{number}.conf", "--appendfilename", f"log-{number}"),
                *("--appendonly", "yes", "--appendfsync", "always"),
            )
            for number in range(4)
        ]
        self.pair = [self.servers[1], self.servers[3]]
        self.url = f"redis+cluster://127.0.0.1:{self.servers[0].port}"
        for number, server in enumerate(self.servers):
            with server.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number < 3:
                    mine = range(number * _THIRD, min(_SLOTS, (number + 1) * _THIRD))
                    client.execute_command("CLUSTER", "ADDSLOTS", *mine)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port)
        wait_until(lambda: all(self._info(it)["cluster_known_nodes"] == "4" for it in self.servers), 30)
        with self.servers[1].client() as primary, self.servers[3].client() as replica:
            identity = primary.execute_command("CLUSTER", "MYID")
            wait_until(lambda: identity in replica.execute_command("CLUSTER", "NODES"), 30)
            replica.execute_command("CLUSTER", "REPLICATE", identity)
        wait_until(self.whole, 60)

    @staticmethod
    def _info(server: ServerProcess) -> dict[str, str]:
        with server.client() as client:
            lines = client.execute_command("CLUSTER", "INFO").decode().split()
        return dict(line.split(":", 1) for line in lines)

    @staticmethod
    def _role(server: ServerProcess) -> str:
        with server.client() as client:
            return str(client.info("replication")["role"])

    @staticmethod
    def index_of(prefix: str) -> int:
        """Which of the primaries holds the keys under a prefix; 1 is one of the pair."""
        return int(key_slot(prefix.encode())) // _THIRD

    def primary(self) -> ServerProcess:
        """The node that holds the keys."""
        (found,) = [it for it in self.pair if it.process is not None and self._role(it) == "master"]
        return found

    def whole(self) -> bool:
        """Whether every node runs and agrees, and the replica is in step."""
        if any(self._info(server)["cluster_state"] != "ok" for server in self.servers):
            return False
        if sorted(self._role(server) for server in self.pair) != ["master", "slave"]:
            return False
        (replica,) = [server for server in self.pair if server is not self.primary()]
        with replica.client() as client:
            in_step = client.info("replication")["master_link_status"] == "up"
        with self.primary().client() as client:
            return in_step and client.info("replication")["connected_slaves"] == 1

    def swap(self) -> None:
        """Have the replica take over, as before a node's maintenance."""
        before = self.primary()
        (replica,) = [server for server in self.pair if server is not before]
        with replica.client() as client:
            client.execute_command("CLUSTER", "FAILOVER")
        wait_until(lambda: self._role(replica) == "master", 30)
        wait_until(self.whole, 60)

    def kill_primary(self) -> ServerProcess:
        """Kill the node that holds the keys and wait until its replica has taken over; gives the former."""
        gone = self.primary()
        gone.stop()
        wait_until(lambda: self._role(next(it for it in self.pair if it is not gone)) == "master", 60)
        return gone
