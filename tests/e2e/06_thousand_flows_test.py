"""Promised: many flows at once, each with its own bytes, spread over the workers, all counted. Checked
with 1,000 TLS flows open together, each sending its own data through an echo target several times; then
every flow must have its log line, the counters must agree with the sums over those lines and with what
the clients moved, nothing may be counted as active any more, and the workers must hold as many
descriptors as before."""

import asyncio
import collections
import os
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, scaled, service, tcp_listener, tls_listener
from peers import client_context

FLOWS, ROUNDS, SIZE = scaled(1000, 150), 4, 3000
CONNECTING_AT_ONCE = 50


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def one_flow(number, reader, writer):
    """Each flow's data is its own: bytes of another flow would not match."""
    for _ in range(ROUNDS):
        data = number.to_bytes(8, "big") + os.urandom(SIZE - 8)
        writer.write(data)
        await writer.drain()
        assert await reader.readexactly(SIZE) == data, f"flow {number}: other bytes came back"


class ThousandFlows(unittest.TestCase):
    def test_a_thousand_tls_flows(self):
        self.run_flows(tls_listener, client_context(), "TLS")

    def test_a_thousand_tcp_flows(self):
        self.run_flows(lambda port, certificate: tcp_listener(port), None, "TCP")

    def run_flows(self, listener, context, kind):
        asyncio.run(self.flows_through(listener, context, kind))

    async def flows_through(self, listener, context, kind):
        port = reserve_port()
        target = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=2048)
        address = "127.0.0.1:{}".format(target.sockets[0].getsockname()[1])
        config = service([listener(port, certificates().leaf())], [group(address)])
        async with target:
            with Proxy(config) as proxy:
                idle = proxy.worker_descriptors()
                streams = await self.connect_all(port, context)
                for _ in range(2):
                    await asyncio.gather(*(one_flow(n, *stream) for n, stream in enumerate(streams)))
                counters = await asyncio.to_thread(proxy.counters)
                self.assertEqual(counters["ActiveFlowCount"], FLOWS)
                self.assertEqual(counters[f"ActiveFlowCount_{kind}"], FLOWS)
                for _, writer in streams:
                    writer.close()
                await asyncio.gather(*(writer.wait_closed() for _, writer in streams))
                await asyncio.to_thread(self.check_books, proxy, kind)
                await asyncio.to_thread(harness.wait_until, "descriptors back to where they were",
                                        lambda: proxy.worker_descriptors() <= idle)

    async def connect_all(self, port, context):
        gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        options = {"ssl": context, "server_hostname": "localhost"} if context else {}

        async def connect():
            async with gate:
                return await asyncio.open_connection("127.0.0.1", port, **options)
        return await asyncio.gather(*(connect() for _ in range(FLOWS)))

    def check_books(self, proxy, kind):
        """The clients' own sums, the log lines and the counters must tell the same story."""
        flows = proxy.wait_events("flow", FLOWS)
        moved = 2 * ROUNDS * SIZE
        self.assertEqual(len(flows), FLOWS)
        self.assertEqual(collections.Counter(flow["end"] for flow in flows), {"closed": FLOWS})
        self.assertEqual({flow["received_bytes"] for flow in flows}, {str(moved)})
        self.assertEqual({flow["sent_bytes"] for flow in flows}, {str(moved)})
        counters = proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=FLOWS)
        self.assertEqual(counters[f"NewFlowCount_{kind}"], FLOWS)
        self.assertEqual(counters[f"ActiveFlowCount_{kind}"], 0)
        self.assertEqual(counters["ProcessedBytes"], 2 * moved * FLOWS)
        self.assertEqual(counters[f"ProcessedBytes_{kind}"], 2 * moved * FLOWS)
        for name in ("ClientTLSNegotiationErrorCount", "TargetConnectionErrorCount", "TCP_Client_Reset_Count",
                     "TCP_Target_Reset_Count", "TCP_ELB_Reset_Count", "TruncatedCount", "WorkerDeathCount"):
            self.assertEqual(counters[name], 0, name)
        share = collections.Counter(flow["pid"] for flow in flows)
        self.assertEqual(len(share), 2)
        self.assertGreater(min(share.values()), FLOWS // 5, f"the workers' shares: {share}")


if __name__ == "__main__":
    harness.main()
