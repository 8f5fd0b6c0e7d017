"""The server's own process: run by the system's Python, which has GStreamer's bindings; see rtsp_server.py.

Its argument is a JSON object: `port`, `user`, `password`, `certificate` (path of a PEM file with key, or
null) and one of two kinds of content: `pictures` (`pattern`, a file name with %05d, `count`, `fps`), or
`cameras` (`count`, `width`, `height`, `fps`), live and numbered. It prints the port when ready, then answers
each JSON line on its standard input with one, and ends when that is closed.
"""

import json
import random
import sys
import time

import gi
from gi.repository import Gio, GLib, Gst, GstRtspServer

gi.require_version("Gst", "1.0")


gi.require_version("GstRtspServer", "1.0")


ENCODED = (
    "x264enc tune=zerolatency speed-preset=veryfast threads=1 pass=quant quantizer=20 key-int-max={fps} "
    "! rtph264pay name=pay0 pt=96 config-interval=1"
)


PICTURES = (
    "multifilesrc location={pattern} start-index=0 stop-index={last} loop=true "
    "caps=image/png,framerate={fps}/1 "
    "! pngdec ! videoconvert ! video/x-raw,format=I420 ! " + ENCODED
)


CAMERA = (
    "appsrc name=camera is-live=true format=time "
    "caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! " + ENCODED
)


# The encoding is announced by a name that nobody knows.
ODD = (
    "videotestsrc is-live=true ! " + ENCODED.format(fps=10).replace("name=pay0 ", "") + " "
    '! capssetter name=pay0 caps="application/x-rtp,encoding-name=(string)ODD"'
)


SOUND = "audiotestsrc is-live=true ! audioconvert ! mulawenc ! rtppcmupay name=pay0 pt=0"


BITS = 32
"""Of a picture's mark: 8 for the camera, 24 for the number, the highest first."""


LINES = 4
"""Rows of pixels of each of its two rows."""


DARK, BRIGHT = b"\x10", b"\xeb"


class Painter:
    """Draws I420 pictures: a texture that moves down, and on top a mark that says which picture it is.

    The mark is a row of blocks, bright for 1, and below it a row of their opposites.
    """

    def __init__(self, camera, width, height):
        self._camera, self._width, self._height = camera, width, height
        self._block = width // BITS
        draw = random.Random(camera)
        rows = []
        for _ in range(height // 4):
            cells = (bytes([draw.randrange(80, 180)]) * 4 for _ in range(width // 4))
            rows += [b"".join(cells)] * 4
        self._texture = b"".join(rows)
        self._colours = b"\x80" * (width * height // 2)

    def picture(self, number):
        """Picture `number`, as bytes."""
        shift = number * 2 % self._height * self._width
        above = self._width * LINES * 2
        moved = self._texture[-shift:] + self._texture[:-shift] if shift else self._texture
        return self._mark(number) + moved[above:] + self._colours

    def black(self):
        """A picture without light."""
        return DARK * (self._width * self._height) + self._colours

    def _mark(self, number):
        value = (self._camera << 24) | (number & 0xFFFFFF)
        bits = [value >> place & 1 for place in reversed(range(BITS))]
        rest = DARK * (self._width - BITS * self._block)
        row = b"".join((BRIGHT if bit else DARK) * self._block for bit in bits) + rest
        opposite = b"".join((DARK if bit else BRIGHT) * self._block for bit in bits) + rest
        return row * LINES + opposite * LINES


class LiveCamera:
    """Films while somebody looks, as fast as it says. All who look see the same, from where they joined.

    A picture's number is its time: seconds of the monotonic clock, times the pictures a second.
    """

    def __init__(self, camera, width, height, fps):
        self._painter = Painter(camera, width, height)
        self._fps = fps
        self.shows = "moving"
        self.filmed = 0
        self._last = self._painter.black()
        launch = CAMERA.format(width=width, height=height, fps=fps)
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_launch(f"( {launch} )")
        self.factory.set_shared(True)
        self.factory.connect("media-configure", self._configured)

    def _configured(self, _factory, media):
        source = media.get_element().get_by_name_recurse_up("camera")
        watched = {"on": True, "next": 0}
        began = time.monotonic()
        first = int(began * self._fps)

        def film():
            while watched["on"] and began + watched["next"] / self._fps <= time.monotonic():
                self._film(source, first, watched["next"])
                watched["next"] += 1
            if watched["on"]:
                due = began + watched["next"] / self._fps - time.monotonic()
                GLib.timeout_add(max(1, int(due * 1000 + 1)), film)
            return False

        media.connect("unprepared", lambda _: watched.update(on=False))
        film()

    def _film(self, source, first, index):
        if self.shows == "silent":
            return
        if self.shows == "black":
            self._last = self._painter.black()
        elif self.shows == "moving":
            self._last = self._painter.picture(first + index)
        buffer = Gst.Buffer.new_wrapped(self._last)
        buffer.pts = index * Gst.SECOND // self._fps
        buffer.duration = Gst.SECOND // self._fps
        source.emit("push-buffer", buffer)
        self.filmed += 1


def of_launch(launch):
    """A factory whose media begins anew for each who looks."""
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    return factory


def guard(server, asked):
    """Let in only whom `user`, `password` and `certificate` say."""
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    if asked["user"] is None:
        auth.set_default_token(token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(asked["user"], asked["password"]), token)
    if asked["certificate"]:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(asked["certificate"]))
    server.set_auth(auth)


def main():
    asked = json.loads(sys.argv[1])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(asked["port"]))
    mounts = server.get_mount_points()
    role = Gst.Structure.new_from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    )
    factories, cameras = {"/sound": of_launch(SOUND), "/odd": of_launch(ODD)}, []
    if asked["pictures"]:
        pictures = asked["pictures"]
        factories["/video"] = of_launch(PICTURES.format(**pictures, last=pictures["count"] - 1))
    if asked["cameras"]:
        kind = dict(asked["cameras"])
        cameras = [LiveCamera(number, **kind) for number in range(kind.pop("count"))]
        factories |= {f"/{number}": camera.factory for number, camera in enumerate(cameras)}
    for path, factory in factories.items():
        permissions = GstRtspServer.RTSPPermissions.new()
        permissions.add_role_from_structure(role)
        factory.set_permissions(permissions)
        mounts.add_factory(path, factory)
    if asked["user"] is not None or asked["certificate"]:
        guard(server, asked)
    if not server.attach(None):
        sys.exit("the port is taken")

    def told(channel, condition):
        line = channel.readline() if condition & GLib.IOCondition.IN else ""
        if not line:
            loop.quit()
            return False
        command = json.loads(line)
        for number, shows in command.get("show", {}).items():
            cameras[int(number)].shows = shows
        if "password" in command:
            asked["password"] = command["password"]
            guard(server, asked)
        say({"filmed": [camera.filmed for camera in cameras]})
        return True

    loop = GLib.MainLoop()
    commands = GLib.IOChannel.unix_new(0)
    GLib.io_add_watch(commands, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, told)
    say(server.get_bound_port())
    loop.run()


def say(what):
    print(json.dumps(what), flush=True)  # noqa: T201 (told to the test)


if __name__ == "__main__":
    main()
