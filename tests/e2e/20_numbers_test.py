"""Promised: plain bpftool prints the numbers under their names, equal to what the clients sent and got, to
the byte and to the flow, also when workers were killed in between; cat prints the same as tables; the files
are there while the service lives, and those of a service that was killed are replaced. Checked against the
clients' own books, on a bpffs that the test mounts."""

import asyncio
import collections
import contextlib
import json
import os
import signal
import ssl
import tempfile

import harness
from certificates import certificates
from harness import (KERNEL_TLS, Proxy, group, reserve_port, scaled, service, tcp_listener, tls_listener,
                     wait_until)
from maps import Numbers, bpftool, read_table
from peers import (Target, client_context, echoed, serve_echo, server_context, tcp_client,
                   tls_client)

FLOWS = int(os.environ.get("TLSPLICE_FLOWS", scaled(10000, 1000)))
AT_ONCE = 40
FILES = {"workers", "steering", "counters", "listeners", "targets", "negotiated", "ktls", "histograms",
         "target_health", "target_groups"}
TABLES = {f"{name}_table" for name in FILES}


class Values(Numbers):
    def test_thousands_of_flows_with_workers_killed_in_between(self):
        asyncio.run(self.run_flows())

    async def run_flows(self):
        target = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=2048)
        address = "127.0.0.1:{}".format(target.sockets[0].getsockname()[1])
        listeners = self.plain_and_web()
        async with target:
            proxy = await asyncio.to_thread(self.start, listeners, [group(address)])
            quarter = FLOWS // 4
            for part in range(4):
                await self.flows("plain", quarter - quarter // 10, part)
                await self.flows("web", quarter // 10, part)
                await asyncio.to_thread(self.check, proxy, address)
                await asyncio.to_thread(self.kill_a_worker, proxy, part)
            await asyncio.to_thread(self.check, proxy, address)
            await asyncio.to_thread(self.check_tables, address)
            self.assertEqual(self.books["plain"]["NewFlowCount"] + self.books["web"]["NewFlowCount"],
                             4 * quarter)

    @staticmethod
    async def serve(reader, writer):
        """Says back half of each block."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data[:len(data) // 2 + 1])
                await writer.drain()
        writer.close()

    async def flows(self, listener, count, part):
        gate = asyncio.Semaphore(AT_ONCE)
        options = {"ssl": client_context(), "server_hostname": "localhost"} if listener == "web" else {}

        async def one(number):
            async with gate:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[listener], **options)
                sent = got = 0
                for size in (1, (number * 7 + part) % 1000 + 1):
                    writer.write(bytes(size))
                    await writer.drain()
                    sent += size
                    got += len(await reader.readexactly(size // 2 + 1))
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
                self.books[listener].update(NewFlowCount=1, ProcessedBytes_FromClient=sent,
                                            ProcessedBytes_ToClient=got)
        await asyncio.gather(*(one(number) for number in range(count)))

    def check(self, proxy, address):
        none = dict.fromkeys(("ActiveFlowCount", "TCP_ELB_Reset_Count", "ClientTLSNegotiationErrorCount",
                              "TargetConnectionErrorCount", "RejectedFlowCount", "TruncatedCount"), 0)
        for listener, book in self.books.items():
            self.wait_sums("listeners", {**none, **book}, listener=listener)
        total = self.books["plain"] + self.books["web"]
        self.wait_sums("targets", {"ActiveFlowCount": 0, "NewFlowCount": total["NewFlowCount"],
                                   "ProcessedBytes_ToTarget": total["ProcessedBytes_FromClient"],
                                   "ProcessedBytes_FromTarget": total["ProcessedBytes_ToClient"]},
                       target=address, target_group="app")
        tls = self.books["web"]["NewFlowCount"]
        self.wait_sums("workers", {"active": 0, "accepted": total["NewFlowCount"], "handshakes": tls})
        self.wait_sums("negotiated", {"NegotiatedCount": tls}, side="client")
        flows = total["NewFlowCount"]
        for timed, count in ("handshake", tls), ("connect", flows), ("flow", flows):
            self.assertEqual(self.timed(timed), count)
        self.wait_sums("counters", {"NewFlowCount": total["NewFlowCount"], "NewFlowCount_TLS": tls})
        steered = self.sums("steering")
        self.assertGreaterEqual(steered["least_loaded"] + steered["kernel_no_worker"], total["NewFlowCount"])

    def timed(self, what):
        """How many are in the buckets of that histogram."""
        sums = self.sums("histograms")
        del sums[f"{what}_us"]
        return sum(count for name, count in sums.items() if name.startswith(f"{what}_"))

    def kill_a_worker(self, proxy, part):
        index = part % 2
        victim = proxy.workers()[index]
        os.kill(victim, signal.SIGKILL)
        wait_until("another worker", lambda: proxy.workers().get(index, victim) != victim)
        self.wait_sums("workers", {"restarts": part + 1})

    def check_tables(self, address):
        columns = {"ACTIVE": "ActiveFlowCount", "NEW": "NewFlowCount",
                   "BYTES_FROM_CLIENT": "ProcessedBytes_FromClient",
                   "BYTES_TO_CLIENT": "ProcessedBytes_ToClient", "ELB_RST": "TCP_ELB_Reset_Count"}
        listeners = read_table(self.folder / "listeners_table")
        self.assertEqual([row["LISTENER"] for row in listeners], ["plain", "web"])
        for row in listeners:
            sums = self.sums("listeners", listener=row["LISTENER"])
            self.assertEqual({column: int(row[column]) for column in columns},
                             {column: sums[name] for column, name in columns.items()})
        for row in read_table(self.folder / "histograms_table"):
            sums = self.sums("histograms", listener=row["LISTENER"])
            flows = self.books[row["LISTENER"]]["NewFlowCount"]
            self.assertEqual((int(row["CONNECTS"]), int(row["FLOWS"])), (flows, flows))
            self.assertEqual(int(row["HANDSHAKES"]), flows if row["LISTENER"] == "web" else 0)
            self.assertEqual(int(row["CONNECT_US"]), sums["connect_us"] // flows)
        shown = {row["COUNTER"]: int(row["SUM"]) for row in read_table(self.folder / "counters_table")}
        self.assertEqual(shown, dict(self.sums("counters")))
        [target] = read_table(self.folder / "targets_table")
        self.assertEqual((target["TARGET_GROUP"], target["TARGET"]), ("app", address))
        self.assertEqual(int(target["NEW"]), FLOWS // 4 * 4)
        steered = read_table(self.folder / "steering_table")
        self.assertEqual([int(row["LEAST_LOADED"]) for row in steered],
                         [row["least_loaded"] for row in self.rows("steering")])
        workers = read_table(self.folder / "workers_table")
        self.assertEqual([row["WORKER"] for row in workers], ["0", "1"])
        self.assertEqual({row["STATE"] for row in workers}, {"serving"})
        self.assertEqual(sum(int(row["ACCEPTED"]) for row in workers), FLOWS // 4 * 4)


class Reasons(Numbers):
    def test_negotiation_errors_by_reason(self):
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        listener = tls_listener(port, certificates().leaf(), handshake_timeout="1s",
                                ssl_policy="ELBSecurityPolicy-TLS-1-2-2017-01")
        self.start([listener], [group(target)])
        with tcp_client(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(100)
        with tcp_client(port):
            pass
        for context in (client_context(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
                        client_context(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
                        client_context(root=certificates().root)):
            context.check_hostname = context.verify_mode == ssl.CERT_REQUIRED
            with contextlib.suppress(ssl.SSLError, ConnectionError), tcp_client(port) as client:
                context.wrap_socket(client, server_hostname="another.example")
        with tcp_client(port) as client:
            client.recv(1)  # until the handshake timeout
        self.wait_sums("listeners", {
            "ClientTLSNegotiationErrorCount": 6, "ClientTLSNegotiationErrorCount_NotTls": 1,
            "ClientTLSNegotiationErrorCount_ClientGone": 1, "ClientTLSNegotiationErrorCount_Protocol": 1,
            "ClientTLSNegotiationErrorCount_Cipher": 1, "ClientTLSNegotiationErrorCount_Alert": 1,
            "ClientTLSNegotiationErrorCount_Timeout": 1, "ClientTLSNegotiationErrorCount_Other": 0},
            listener="web")

    def test_what_was_negotiated_with_clients_and_targets(self):
        port, leaf = reserve_port(), certificates().leaf()
        target = self.enterContext(Target(serve_echo, server_context(leaf)))
        listener = tls_listener(port, leaf, ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06", ktls="off")
        self.start([listener], [group(target, protocol="TLS", ktls="off")], workers=1)
        for version, times in (ssl.TLSVersion.TLSv1_2, 3), (ssl.TLSVersion.TLSv1_3, 2):
            for _ in range(times):
                with tls_client(port, client_context(version)) as client:
                    self.assertTrue(echoed(client))
                    kept = client.cipher()
            [row] = [row for row in self.rows("negotiated")
                     if row["side"] == "client" and row["protocol"] == kept[1]]
            self.assertEqual((row["cipher"], row["NegotiatedCount"]), (kept[0], times))
            self.assertIn(row["group"].lower(), ("x25519", "secp256r1", "prime256v1", "p-256"))
        self.wait_sums("negotiated", {"NegotiatedCount": 5}, side="target", protocol="TLSv1.2")
        shown = read_table(self.folder / "negotiated_table")
        self.assertEqual({(row["SIDE"], row["PROTOCOL"]): int(row["COUNT"]) for row in shown},
                         {("client", "TLSv1.2"): 3, ("client", "TLSv1.3"): 2, ("target", "TLSv1.2"): 5})
        for side in "client", "target":
            for direction in "receive", "send":
                self.wait_sums("ktls", {"off": 5, "kernel": 0}, side=side, direction=direction)
        self.assertEqual([row["OFF"] for row in read_table(self.folder / "ktls_table")], ["5"] * 4)

    def test_where_the_tls_of_clients_and_targets_is(self):
        """Four clients, of which one has a suite that no kernel has; what goes on to the target has one."""
        port, leaf = reserve_port(), certificates().leaf()
        target = self.enterContext(Target(serve_echo, server_context(leaf)))
        self.start([tls_listener(port, leaf, ssl_policy="ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06")],
                   [group(target, protocol="TLS")])
        for context in (client_context(ssl.TLSVersion.TLSv1_3),
                        client_context(ssl.TLSVersion.TLSv1_2, "AES256-GCM-SHA384"),
                        client_context(ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
                        client_context(ssl.TLSVersion.TLSv1_2, "AES128-SHA256")):
            with tls_client(port, context) as client:
                self.assertTrue(echoed(client, bytes(50_000)))
        expected = {"client": {"kernel": 3, "cipher": 1}, "target": {"kernel": 4}}
        if not KERNEL_TLS:
            expected = dict.fromkeys(expected, {"no_kernel_tls": 4})
        none = {"kernel": 0, "off": 0, "no_kernel_tls": 0, "cipher": 0, "protocol": 0, "kernel_refused": 0}
        for side in "client", "target":
            for direction in "receive", "send":
                self.wait_sums("ktls", none | expected[side], side=side, direction=direction)
        shown = collections.Counter()
        for row in read_table(self.folder / "ktls_table"):  # one a worker
            shown[row["SIDE"], row["DIRECTION"]] += int(row["KERNEL"])
        self.assertEqual(dict(shown), {(side, direction): expected[side].get("kernel", 0)
                                       for side in expected for direction in ("receive", "send")})

    def test_a_target_that_refuses_and_one_that_resets(self):
        port, refused = reserve_port(), f"127.0.0.1:{reserve_port()}"
        self.start([tcp_listener(port)], [group(refused)])
        for _ in range(3):
            with contextlib.suppress(ConnectionError), tcp_client(port) as client:
                client.recv(1)
        self.wait_sums("targets", {"TargetConnectionErrorCount": 3, "NewFlowCount": 0}, target=refused)
        self.wait_sums("listeners", {"TargetConnectionErrorCount": 3, "TCP_ELB_Reset_Count": 3,
                                     "ActiveFlowCount": 0}, listener="plain")

    def test_refused_for_max_flows(self):
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        self.start([tcp_listener(port)], [group(target)], max_flows=2)
        clients = [tcp_client(port) for _ in range(2)]
        self.assertTrue(all(echoed(client) for client in clients))
        with contextlib.suppress(ConnectionError), tcp_client(port) as third:
            third.recv(1)
        self.wait_sums("listeners", {"RejectedFlowCount": 1, "NewFlowCount": 2, "ActiveFlowCount": 2})
        for client in clients:
            client.close()

    def test_bytes_are_counted_while_they_move(self):
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        self.start([tcp_listener(port)], [group(target)])
        with tcp_client(port) as client:
            for total in (1000, 2000):
                self.assertTrue(echoed(client, bytes(1000)))
                self.wait_sums("listeners", {"ActiveFlowCount": 1, "ProcessedBytes_FromClient": total,
                                             "ProcessedBytes_ToClient": total}, listener="plain")
                self.wait_sums("targets", {"ProcessedBytes_ToTarget": total,
                                           "ProcessedBytes_FromTarget": total}, target=target.address)
        self.wait_sums("listeners", {"ActiveFlowCount": 0, "ProcessedBytes_FromClient": 2000})

    def test_flows_of_a_killed_worker_are_no_longer_active(self):
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        proxy = self.start([tcp_listener(port)], [group(target)])
        clients = [tcp_client(port) for _ in range(20)]
        self.assertTrue(all(echoed(client) for client in clients))
        self.wait_sums("listeners", {"ActiveFlowCount": 20, "NewFlowCount": 20})
        victim = proxy.workers()[0]
        its = sum(proxy.worker_of(client) == victim for client in clients)
        os.kill(victim, signal.SIGKILL)
        for name in "listeners", "targets":
            self.wait_sums(name, {"ActiveFlowCount": 20 - its, "NewFlowCount": 20})
        for client in clients:
            client.close()
        self.wait_sums("listeners", {"ActiveFlowCount": 0})


class Files(Numbers):
    def one(self, port=None, **top):
        port = port or reserve_port()
        return self.start([tcp_listener(port)], [group("127.0.0.1:9")], **top)

    def here(self):
        return {file.name for file in self.folder.iterdir()} if self.folder.exists() else set()

    def test_are_there_while_the_service_lives(self):
        proxy = self.one()
        self.assertEqual(self.here(), FILES | TABLES)
        self.assertEqual(proxy.events("numbers")[0]["directory"], str(self.folder))
        self.assertEqual(len(self.rows("workers")), 2)
        self.assertEqual({row["process"] for row in self.rows("workers")}, set(proxy.workers().values()))
        proxy.stop()
        self.assertFalse(self.folder.exists())

    def test_programs_are_found_by_name(self):
        self.one()
        found = json.loads(bpftool("-j", "prog", "show", "name", "tlsplice_steer"))
        found = found if isinstance(found, list) else [found]
        self.assertTrue(all(program["type"] == "sk_reuseport" for program in found), found)
        names = {program.get("name") for program in json.loads(bpftool("-j", "prog", "show"))}
        self.assertLessEqual({f"show_{name[:-6]}"[:15] for name in TABLES}, {name[:15] for name in names})

    def test_of_a_service_that_was_killed_are_replaced(self):
        proxy = self.one()
        workers = proxy.workers().values()
        proxy.expected_status = -signal.SIGKILL
        proxy.process.kill()
        wait_until("the workers to end", lambda: not any(harness.process_exists(pid) for pid in workers))
        self.assertEqual(self.here(), FILES | TABLES)
        self.one(workers=3)
        self.assertEqual(len(self.rows("workers")), 3)

    def test_of_another_service_are_left_alone(self):
        self.one()
        first = self.rows("workers")
        config = service([tcp_listener(reserve_port())], [group("127.0.0.1:9")], bpf_directory=self.folder)
        with Proxy(config) as second:
            said = second.events("numbers_not_pinned")
            self.assertEqual(len(said), 1)
            self.assertIn("bpf_directory", said[0]["why"])
        self.assertEqual([row["process"] for row in self.rows("workers")], [row["process"] for row in first])
        self.assertEqual(self.here(), FILES | TABLES)

    def test_without_a_bpffs_the_service_says_how_to_get_one(self):
        with tempfile.TemporaryDirectory() as plain:
            config = service([tcp_listener(reserve_port())], [group("127.0.0.1:9")],
                             bpf_directory=f"{plain}/tlsplice")
            with Proxy(config) as proxy:
                self.assertIn("mount -t bpf", proxy.events("numbers_not_pinned")[0]["why"])
                self.assertEqual(proxy.events("steering")[0]["mode"], "least-loaded")


if __name__ == "__main__":
    harness.main()
