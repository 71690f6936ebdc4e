"""Promised: the targets of a group with preserve_client_ip see their clients' addresses, IPv4 and IPv6, and
their answers come back: bytes, half-closes and resets, and thousands of flows of one client. What brings them
here is there while the service runs and gone afterwards, also when it was killed; nothing else is led astray;
workers have one capability, and only when it is asked for. Checked between hosts of the test's own, client,
proxy and targets, with strict reverse path filters."""

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess

import harness
from certificates import certificates
from harness import (PROGRAM, Proxy, group, process_exists, process_status, service, tcp_listener,
                     tls_listener, wait_until)
from hosts import CLIENT, GATEWAY, PORTS, PROXY, TARGET, Network
from peers import (CLEAN, RESET, Target, TcpEnd, TlsEnd, client_context, echoed, receive_exactly, serve_echo,
                   server_context)

FRONTS = GROUPS = ("TLS", "TCP")
FLOWS = int(os.environ.get("TLSPLICE_FLOWS", harness.scaled(4000, 600)))
AT_A_TIME = min(FLOWS, 1000)
BULK = harness.scaled(2_000_000, 300_000)
NET_RAW = 1 << 13
ON = {"enabled": True}


def bracketed(host):
    return f"[{host}]" if ":" in host else host


def serve_name(connection):
    """Says who the client is."""
    connection.sendall(f"{connection.getpeername()[0]}\n".encode())


def reset_after_a_word(connection):
    receive_exactly(connection, 4)
    TcpEnd(connection).reset()


class Preserving(Network):
    def config(self, *targets, v=4, preserve=ON, fronts=FRONTS, protocol="TCP", **keys):
        made = {"TLS": lambda: tls_listener(PORTS["TLS"], certificates().leaf(), host=bracketed(PROXY[v])),
                "TCP": lambda: tcp_listener(PORTS["TCP"], host=bracketed(PROXY[v]))}
        if preserve:
            keys = {**keys, "preserve_client_ip": preserve}
        return service([made[front]() for front in fronts], [group(*targets, protocol=protocol, **keys)])

    def start(self, *targets, **keys):
        with self.proxy_host:
            return self.enterContext(Proxy(self.config(*targets, **keys)))

    def end(self, front="TCP", v=4, says_first=b"", **keys):
        connection = self.connect(front, v, **keys)
        connection.sendall(says_first)
        return TlsEnd(connection, client_context()) if front == "TLS" else TcpEnd(connection)

    def seen(self, *arguments, **keys):
        """Whom a target that serves with serve_name sees."""
        client = self.end(*arguments, **keys)
        name, end = client.rest()
        client.close()
        self.assertEqual(end, CLEAN)
        return name.decode().strip()

    def rules(self):
        """Those of ours, as ip(8) has them."""
        return [line.replace("\t", "") for v in ("-4", "-6")
                for line in self.proxy_host.ip(v, "rule").splitlines() if line.endswith("proto 143")]

    def routes(self):
        return [line for v in ("-4", "-6") for line in
                self.proxy_host.ip(v, "route", "show", "table", "all", "proto", "143").splitlines()]


class Flows(Preserving):
    def takes_bulk(self, connection):
        """All that the client says until it finishes; then as much, and the end."""
        said = receive_exactly(connection, BULK)
        assert connection.recv(1) == b"", "more than was said"
        connection.sendall(said)
        return connection.getpeername()[0]

    def test_the_target_sees_the_client_and_its_bytes_and_ends_pass(self):
        said = os.urandom(BULK)
        for v in 4, 6:
            for protocol in GROUPS:
                context = server_context(certificates().leaf()) if protocol == "TLS" else None
                target = self.target(self.takes_bulk, v, context=context)
                with self.subTest(v=v, protocol=protocol), self.proxy_host, \
                        Proxy(self.config(target, v=v, protocol=protocol)) as proxy:
                    for number, front in enumerate(FRONTS, 1):
                        client = self.end(front, v)
                        client.send(said)
                        client.finish()
                        self.assertEqual(client.rest(), (said, CLEAN))
                        self.assertEqual(target.wait_results(number)[-1], CLIENT[v])
                        address = client.socket.getsockname()
                        client.close()
                        self.assertEqual(proxy.flow_of(address)["end"], "closed")

    def test_resets_pass_both_ways(self):
        for v in 4, 6:
            target = self.target(lambda connection: TcpEnd(connection).rest(), v)
            resets = self.target(reset_after_a_word, v)
            for front in FRONTS:
                with self.subTest(v=v, front=front), self.proxy_host:
                    with Proxy(self.config(target, v=v)) as proxy:
                        client = self.end(front, v)
                        client.send(b"ping")
                        proxy.wait_counters(NewFlowCount=1)
                        before = len(target.results)
                        client.reset()
                        self.assertEqual(target.wait_results(before + 1)[-1][1], RESET)
                    with Proxy(self.config(resets, v=v)):
                        client = self.end(front, v)
                        client.send(b"ping")
                        self.assertEqual(client.rest(), (b"", RESET))
                        client.close()

    def test_thousands_of_flows_of_one_client(self):
        """Each ends on the client's side first, so that its port towards the target rests for a minute."""
        target = self.target(serve_echo)
        proxy = self.start(target)

        def one(_):
            with self.client, socket.create_connection((PROXY[4], PORTS["TCP"]), harness.PATIENCE) as client:
                end = TcpEnd(client)
                end.say_last(b"ping")
                return end.rest()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            ends = list(pool.map(one, range(FLOWS)))
        self.assertEqual(set(ends), {(b"ping", CLEAN)})
        proxy.wait_counters(NewFlowCount=FLOWS, ActiveFlowCount=0, TargetConnectionErrorCount=0)

    def test_many_flows_of_one_client_at_a_time(self):
        self.start(self.target(serve_echo))
        clients = [self.connect() for _ in range(AT_A_TIME)]
        for client in clients:
            client.sendall(b"ping")
        for client in clients:
            self.assertEqual(receive_exactly(client, 4), b"ping")

    def test_a_client_that_has_used_up_its_ports_is_no_concern_of_others(self):
        """Each target is another four ports for it; then it is refused, and nobody else is."""
        self.client.address("wire", "10.71.1.9/24")
        proxy = self.start(self.target(serve_echo), self.target(serve_echo))
        self.proxy_host.set("net/ipv4/ip_local_port_range", "40000 40003")  # the start's probes needed some
        clients = [self.connect() for _ in range(8)]
        for client in clients:
            self.assertTrue(echoed(client))
        with contextlib.suppress(ConnectionError):  # the reset may be there before connect() has returned
            self.assertEqual(TcpEnd(self.connect()).rest(), (b"", RESET))
        [line] = proxy.wait_events("flow", end="exhausted")
        self.assertIn("Cannot assign requested address", line["detail"])
        proxy.wait_counters(PortAllocationErrorCount=1, NewFlowCount=9, ActiveFlowCount=8)
        proxy.wait_events("refusing", reason="ports")
        self.assertTrue(echoed(self.connect(source=("10.71.1.9", 0))))

    def test_flows_at_a_time_from_one_port_of_a_client(self):
        """To two listeners of one target: with the client's own port it would be one pair of addresses."""
        target = self.target(serve_echo)
        self.start(target)
        for port in 40001, 40002:
            first = self.connect("TCP", source=(CLIENT[4], port))
            second = self.end("TLS", source=(CLIENT[4], port))
            second.send(b"ping")
            self.assertEqual(second.receive(4), b"ping")
            self.assertTrue(echoed(first))

    def test_each_client_is_seen_as_itself(self):
        others = [f"10.71.1.{n}" for n in range(10, 30)]
        self.client.address("wire", *(f"{other}/24" for other in others))
        target = self.target(serve_name)
        self.start(target)
        for other in others:
            self.assertEqual(self.seen(source=(other, 0)), other)

    def test_across_ip_versions_the_proxy_is_seen(self):
        """And so it is where the group does not ask for it, or the client is on the proxy's own loopback."""
        for v, other in ((4, 6), (6, 4)):
            target = self.target(serve_name, other)
            with self.subTest(clients=v), self.proxy_host, Proxy(self.config(target, v=v)):
                self.assertEqual(self.seen("TCP", v), GATEWAY[other])
        target = self.target(serve_name)
        with self.proxy_host, Proxy(self.config(target, preserve=None)):
            self.assertEqual(self.seen(), GATEWAY[4])
        config = self.config(target)
        config["listener"] = [tcp_listener(80, host="127.0.0.1")]
        with self.proxy_host, Proxy(config):
            with socket.create_connection(("127.0.0.1", 80), harness.PATIENCE) as client:
                self.assertEqual(TcpEnd(client).rest()[0], f"{GATEWAY[4]}\n".encode())

    def test_the_client_that_a_proxy_in_front_names_is_seen(self):
        """Also where that cannot be spoken as: then it is this host."""
        for v, other in ((4, 6), (6, 4)):
            target, trust = self.target(serve_name, v), {"accept_from": [CLIENT[v]]}
            config = self.config(target, v=v)
            config["listener"] = [{**listener, "proxy_protocol": trust} for listener in config["listener"]]
            nobody = {4: "255.255.255.255", 6: "ff02::1"}
            named = {4: "192.0.2.7", 6: "2001:db8::7"}
            with self.proxy_host, Proxy(config):
                for of, client, seen in ((v, named[v], named[v]), (v, nobody[v], GATEWAY[v]),
                                         (other, named[other], GATEWAY[v]), (v, TARGET[v], GATEWAY[v])):
                    for front in FRONTS:
                        with self.subTest(client=client, front=front):
                            line = f"PROXY TCP{of} {client} {client} 4711 443\r\n"
                            self.assertEqual(self.seen(front, v, says_first=line.encode()), seen)

    def test_a_target_that_is_a_client_sees_the_proxy(self):
        target = self.target(serve_name)
        self.start(target)
        with self.target_host:
            client = self.enterContext(socket.create_connection((PROXY[4], PORTS["TCP"]), harness.PATIENCE))
        self.assertEqual(TcpEnd(client).rest(), (f"{GATEWAY[4]}\n".encode(), CLEAN))

    def test_a_target_on_the_proxys_own_host_sees_the_client(self):
        target = self.target(serve_name, host=self.proxy_host)
        self.start(target)
        for front in FRONTS:
            self.assertEqual(self.seen(front), CLIENT[4])

    def test_a_flow_goes_on_while_another_service_starts_and_ends(self):
        target = self.target(serve_echo)
        self.start(target)
        client = self.connect()
        self.assertTrue(echoed(client))
        config = self.config(target)
        config["listener"] = [tcp_listener(8080, host=PROXY[4])]
        with self.proxy_host, Proxy(config):
            self.assertEqual(len(self.rules()), 2)
            self.assertTrue(echoed(client))
        self.assertEqual(len(self.rules()), 1)
        self.assertTrue(echoed(client))


class Rules(Preserving):
    def expected(self, *targets, table=7640):
        lines = []
        for target in targets:
            host, _, port = target.address.rpartition(":")
            lines.append(f"{table}:from {host.strip('[]')} ipproto tcp sport {port} lookup {table} proto 143")
        return lines

    def test_they_are_there_while_the_service_runs(self):
        targets = [self.target(serve_echo), self.target(serve_echo), self.target(serve_echo, 6)]
        self.assertEqual(self.rules() + self.routes(), [])
        proxy = self.start(*targets)
        self.assertEqual(sorted(self.rules()), sorted(self.expected(*targets)))
        self.assertEqual(len(self.routes()), 2)
        [line] = proxy.events("preserving_client_ip")
        self.assertEqual((line["targets"], line["table"]), ("3", "7640"))
        client = self.connect()
        self.assertTrue(echoed(client))
        proxy.tell(signal.SIGTERM)
        proxy.wait_events("draining")
        self.assertTrue(echoed(client))  # running flows still have their answers
        self.assertEqual(len(self.rules()), 3)
        client.close()
        self.assertEqual(proxy.wait(), 0)
        self.assertEqual(self.rules() + self.routes(), [])

    def test_none_without_such_a_group(self):
        target = self.target(serve_echo)
        self.start(target, preserve={"enabled": False})
        self.assertEqual(self.rules() + self.routes(), [])

    def kill(self, proxy):
        workers = proxy.workers().values()
        proxy.expected_status = -signal.SIGKILL
        proxy.process.kill()
        proxy.process.wait()
        wait_until("the workers to end", lambda: not any(process_exists(pid) for pid in workers))

    def test_what_a_killed_service_left_is_replaced(self):
        old, new = self.target(serve_name), self.target(serve_name)
        with self.proxy_host, Proxy(self.config(old)) as proxy:
            self.kill(proxy)
        self.assertEqual(self.rules(), self.expected(old))
        with self.proxy_host, Proxy(self.config(new)) as proxy:
            self.assertEqual(self.rules(), self.expected(new))
            self.assertEqual(self.seen(), CLIENT[4])
            self.kill(proxy)
        with self.proxy_host, Proxy(self.config(old, preserve=None)):
            self.assertEqual(self.rules() + self.routes(), [])

    def test_they_follow_a_reload(self):
        """A target has its rule from before the first flow to it until after the last one."""
        old, kept, new = (self.target(serve_echo) for _ in range(3))
        proxy = self.start(old, kept)
        flows = [self.connect() for _ in range(20)]  # to either target
        for flow in flows:
            self.assertTrue(echoed(flow))
        self.assertTrue(old.accepted)
        self.assertEqual(proxy.reload(self.config(kept, new)), "reloaded")
        self.assertEqual(sorted(self.rules()), sorted(self.expected(old, kept, new)))
        while not new.accepted:
            self.assertTrue(echoed(self.connect()))
        for flow in flows:
            self.assertTrue(echoed(flow))
            flow.close()
        proxy.wait_events("generation_ended", generation=1)
        wait_until("one rule less", lambda: sorted(self.rules()) == sorted(self.expected(kept, new)))
        self.assertEqual(proxy.reload(self.config(old, protocol="UDP")), "not_reloaded")
        self.assertEqual(sorted(self.rules()), sorted(self.expected(kept, new)))

    def test_a_reload_turns_it_on_and_off(self):
        target = self.target(serve_name)
        proxy = self.start(target, preserve=None)
        self.assertEqual(self.seen(), GATEWAY[4])
        self.assertEqual(proxy.reload(self.config(target)), "reloaded")
        self.assertEqual(self.seen(), CLIENT[4])
        self.assertEqual(proxy.reload(self.config(target, preserve=None)), "reloaded")
        self.assertEqual(self.seen(), GATEWAY[4])
        wait_until("no rule", lambda: self.rules() + self.routes() == [])

    def test_an_upgrade_keeps_them_for_the_flows_of_the_predecessor(self):
        old, new = self.target(serve_echo), self.target(serve_echo)
        proxy = self.start(old)
        flow = self.connect()
        self.assertTrue(echoed(flow))
        proxy.write_config(self.config(new))
        proxy.tell(signal.SIGUSR2)
        proxy.wait_events("upgraded")
        self.assertEqual(sorted(self.rules()), sorted(self.expected(old, new)))
        self.assertTrue(echoed(flow))
        self.assertTrue(echoed(self.connect()))
        flow.close()
        wait_until("one rule less", lambda: self.rules() == self.expected(new))

    def test_what_else_the_targets_host_sends_is_forwarded(self):
        """Answers from another port of it to that very client, and connections that it opens itself."""
        self.proxy_host.set("net/ipv4/ip_forward", 1)
        target, other = self.target(serve_name), self.target(serve_name)
        self.start(target)
        host, _, port = other.address.rpartition(":")
        with self.client, socket.create_connection((host, int(port)), harness.PATIENCE) as direct:
            self.assertEqual(TcpEnd(direct).rest()[0], f"{CLIENT[4]}\n".encode())
        with self.client:
            outside = self.enterContext(Target(serve_name, host=CLIENT[4]))
        host, _, port = outside.address.rpartition(":")
        with self.target_host, socket.create_connection((host, int(port)), harness.PATIENCE) as direct:
            self.assertEqual(TcpEnd(direct).rest()[0], f"{TARGET[4]}\n".encode())


class Rights(Preserving):
    def capabilities(self, pid):
        status = process_status(pid)
        return {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")}

    def test_workers_have_one_capability_and_only_when_asked(self):
        target = self.target(serve_echo)
        one = {"CapEff": NET_RAW, "CapPrm": NET_RAW, "CapInh": 0, "CapBnd": 0, "CapAmb": 0}
        with self.proxy_host, Proxy(self.config(target)) as proxy:
            self.assertEqual(len(proxy.workers()), 2)
            for pid in proxy.workers().values():
                self.assertEqual(self.capabilities(pid), one)
                self.assertEqual(process_status(pid)["NoNewPrivs"], "1")
        with self.proxy_host, Proxy(self.config(target, preserve=None)) as proxy:
            self.assertEqual(len(proxy.workers()), 2)
            for pid in proxy.workers().values():
                harness.assert_unprivileged(self, pid, "nobody")

    def test_the_monitor_has_none_of_it(self):
        config = {**self.config(self.target(serve_echo)), "metrics": {"address": "127.0.0.1:9464"}}
        with self.proxy_host, Proxy(config) as proxy:
            harness.assert_unprivileged(self, wait_until("the monitor", proxy.monitor), "nobody")

    def test_without_the_right_nothing_starts_and_check_says_why(self):
        config = self.config(self.target(serve_echo), fronts=["TCP"])
        config["listener"][0]["address"] = "127.0.0.1:8080"
        with self.proxy_host:
            proxy = Proxy(config, user=65534)
            self.addCleanup(proxy.kill)
            self.assertEqual(proxy.wait(), 1)
            [line] = proxy.wait_events("not_started")
            why = "CAP_NET_ADMIN (policy rules) and CAP_NET_RAW (sockets) are missing; start as root, in a " \
                  "container with --cap-add=NET_ADMIN,NET_RAW"
            self.assertEqual(line["error"], f"preserve_client_ip: {why}")
            done = subprocess.run([PROGRAM, "check", "-c", proxy.config_file], capture_output=True, text=True,
                                  user=65534, group=65534, extra_groups=[], timeout=harness.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"  warning: preserve_client_ip: {why}\n", done.stdout)

    def test_check_tells_of_strict_filters(self):
        proxy = self.start(self.target(serve_echo), fronts=["TCP"])
        said = self.proxy_host.run(PROGRAM, "check", "-c", str(proxy.config_file))
        self.assertIn("  client_ip  preserved\n", said)
        self.assertIn("  note: rp_filter is 1 on clients, targets: ", said)
        self.assertNotIn("warning: preserve", said)
        for device in "all", "clients", "targets":
            self.proxy_host.set(f"net/ipv4/conf/{device}/rp_filter", 2)
        self.assertNotIn("rp_filter", self.proxy_host.run(PROGRAM, "check", "-c", str(proxy.config_file)))


if __name__ == "__main__":
    harness.main()
