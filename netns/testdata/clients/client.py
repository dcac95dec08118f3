# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# client.py LIBRARY HOST CA: does with one of Python's libraries what programs do,
# and prints a line "WHAT: WHAT CAME OF IT" for each.
import asyncio
import hashlib
import ssl
import sys
import threading
import time

library, host, ca = sys.argv[1:]
plain, secure = "http://" + host, "https://" + host
many = 20
big = b"0123456789abcdef" * (512 << 10)
bound = 45


def sha(data):
    return hashlib.sha256(data).hexdigest()


def fact(what, do):
    start = time.monotonic()
    try:
        got = do()
    except Exception as err:
        got = "error"
        print(f"{what}: {type(err).__name__}: {err}", file=sys.stderr)
    took = time.monotonic() - start
    print(f"{what}: {got if took < bound else 'too slow'}", flush=True)
    print(f"{what} took {took:.3f} s", file=sys.stderr)


def at_once(do):
    done = []
    threads = [threading.Thread(target=lambda n=n: done.append(do(n))) for n in range(many)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(bound)
    return len(done)


def trusting():
    return ssl.create_default_context(cafile=ca)


def use_requests():
    import requests

    for name, url in (("http", plain), ("https", secure)):
        s = requests.Session()
        s.verify = ca
        get = lambda path, **o: s.get(url + path, timeout=bound, **o)
        fact(name, lambda: get("/").text)
        fact(name + " kept", lambda: len({get("/").headers["X-Connection"] for _ in range(3)}))
        fact(name + " download", lambda: sha(get("/down").content))
        fact(name + " upload", lambda: s.post(url + "/up", data=big, timeout=bound).text)
        fact(name + " chunks", lambda: s.post(url + "/up", data=(big[n:n + 65536] for n in range(0, len(big), 65536)), timeout=bound).text)
        fact(name + " at once", lambda: at_once(lambda n: requests.get(f"{url}/?{n}", verify=ca, timeout=bound).text))
        fact(name + " cut", lambda: get("/cut").text)
        fact(name + " after", lambda: get("/").text)
    fact("refused name", lambda: requests.get("http://other.test/", timeout=bound).text)
    fact("refused port", lambda: requests.get(plain + ":81/", timeout=bound).text)


def use_httpx():
    import httpx

    for name, url, h2 in (("http", plain, False), ("https", secure, False), ("h2", secure, True)):
        with httpx.Client(http2=h2, verify=trusting(), timeout=bound) as c:
            get = lambda path: c.get(url + path)
            fact(name, lambda: get("/").text)
            fact(name + " version", lambda: get("/").http_version)
            fact(name + " kept", lambda: len({get("/").headers["X-Connection"] for _ in range(3)}))
            fact(name + " download", lambda: sha(get("/down").content))
            fact(name + " upload", lambda: c.post(url + "/up", content=big).text)
            fact(name + " cut", lambda: get("/cut").text)
            fact(name + " after", lambda: get("/").text)

    async def streams():
        async with httpx.AsyncClient(http2=True, verify=trusting(), timeout=bound) as c:
            await c.get(secure + "/")
            answers = await asyncio.gather(*(c.get(f"{secure}/?{n}") for n in range(many)))
            return f"{len(answers)} on {len({a.headers['X-Connection'] for a in answers})}"

    fact("h2 streams", lambda: asyncio.run(streams()))
    fact("refused name", lambda: httpx.get("https://other.test/", timeout=bound).text)


def use_aiohttp():
    import aiohttp

    async def run(name, url):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting()), timeout=aiohttp.ClientTimeout(bound)) as s:

            async def get(path, how="text"):
                async with s.get(url + path) as r:
                    return r.headers["X-Connection"] if how == "connection" else await getattr(r, how)()

            async def say(what, doing):
                start = time.monotonic()
                try:
                    got = await asyncio.wait_for(doing, bound)
                except Exception as err:
                    got = "error"
                    print(f"{what}: {type(err).__name__}: {err}", file=sys.stderr)
                print(f"{name} {what}: {got}".replace(" :", ":"), flush=True)
                print(f"{what} took {time.monotonic() - start:.3f} s", file=sys.stderr)

            async def upload():
                async with s.post(url + "/up", data=big) as r:
                    return await r.text()

            async def websocket():
                await get("/")  # so that the connection has been used
                async with s.ws_connect(url + "/ws") as ws:
                    await ws.send_str("hello")
                    await ws.send_bytes(big[:100000])
                    one, two = await ws.receive_str(), await ws.receive_bytes()
                    await ws.close()
                    return f"{one} {len(two)} {ws.close_code}"

            async def download():
                return sha(await get("/down", "read"))

            async def kept():
                return len({await get("/", "connection") for _ in range(3)})

            async def at_once():
                return len(await asyncio.gather(*(get(f"/?{n}") for n in range(many))))

            async def refused():
                async with s.get("http://other.test/") as r:
                    return await r.text()

            await say("", get("/"))
            await say("kept", kept())
            await say("download", download())
            await say("upload", upload())
            await say("at once", at_once())
            await say("websocket", websocket())
            await say("cut", get("/cut"))
            await say("after", get("/"))
            await say("refused name", refused())

    asyncio.run(run("http", plain))
    asyncio.run(run("https", secure))


def use_websockets():
    import websockets

    async def run(url, **options):
        async with websockets.connect(url, open_timeout=bound, max_size=1 << 24, **options) as ws:
            await ws.send("hello")
            one = await ws.recv()
            await ws.send(big)
            two = await asyncio.wait_for(ws.recv(), bound)
            await ws.ping()
            await ws.close()
            return f"{one} {sha(two)} {ws.close_code}"

    async def cut(url):
        async with websockets.connect(url, open_timeout=bound) as ws:
            await ws.send("cut")
            return await asyncio.wait_for(ws.recv(), bound)

    async def at_once(url):
        async def one():
            async with websockets.connect(url, open_timeout=bound) as ws:
                await ws.send("hello")
                return await asyncio.wait_for(ws.recv(), bound)

        return len(await asyncio.gather(*(one() for _ in range(many))))

    fact("ws", lambda: asyncio.run(run("ws" + plain[4:] + "/ws")))
    fact("wss", lambda: asyncio.run(run("ws" + secure[4:] + "/ws", ssl=trusting())))
    fact("ws at once", lambda: asyncio.run(at_once("ws" + plain[4:] + "/ws")))
    fact("ws cut", lambda: asyncio.run(cut("ws" + plain[4:] + "/ws")))
    fact("refused name", lambda: asyncio.run(run("ws://other.test/ws")))


def use_grpc():
    import grpc

    with open(ca, "rb") as f:
        credentials = grpc.ssl_channel_credentials(f.read())
    for name, channel in (
        ("tls", grpc.secure_channel(host + ":443", credentials)),
        ("plain", grpc.insecure_channel(host + ":50051")),
    ):
        with channel:
            fact(name + " unary", lambda: channel.unary_unary("/test.Echo/Echo")(b"hello", timeout=bound).decode())
            fact(name + " large", lambda: sha(channel.unary_unary("/test.Echo/Echo")(big[:3 << 20], timeout=bound)))
            stream = channel.stream_stream("/test.Echo/Echo")
            fact(name + " stream", lambda: b" ".join(stream((b"%d" % n for n in range(5)), timeout=bound)).decode())
            fact(name + " at once", lambda: at_once(lambda n: channel.unary_unary("/test.Echo/Echo")(b"%d" % n, timeout=bound)))
            fact(name + " cut", lambda: channel.unary_unary("/test.Echo/Cut")(b"hello", timeout=bound))
            fact(name + " after", lambda: channel.unary_unary("/test.Echo/Echo")(b"again", timeout=bound).decode())
    other = grpc.insecure_channel("other.test:443")
    fact("refused name", lambda: other.unary_unary("/test.Echo/Echo")(b"hello", timeout=bound))


{
    "requests": use_requests,
    "httpx": use_httpx,
    "aiohttp": use_aiohttp,
    "websockets": use_websockets,
    "grpc": use_grpc,
}[library]()
