"""The server's own process: run by the system's Python, which has GStreamer's bindings; see rtsp_server.py.

Its argument is a JSON object: `pattern` (file name with %05d), `count`, `fps`, `port`, `user`, `password`,
`certificate` (path of a PEM file with key, or null). It prints the port when ready, and ends when its
standard input is closed.
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtspServer  # noqa: E402 (versions must be named first)

VIDEO = (
    "multifilesrc location={pattern} start-index=0 stop-index={last} loop=true "
    "caps=image/png,framerate={fps}/1 "
    "! pngdec ! videoconvert ! video/x-raw,format=I420 "
    "! x264enc tune=zerolatency speed-preset=veryfast threads=1 pass=quant quantizer=20 key-int-max={fps} "
    "! rtph264pay name=pay0 pt=96 config-interval=1"
)
SOUND = "audiotestsrc is-live=true ! audioconvert ! mulawenc ! rtppcmupay name=pay0 pt=0"


def main() -> None:
    asked = json.loads(sys.argv[1])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(asked["port"]))
    role = Gst.Structure.new_from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    )
    mounts = server.get_mount_points()
    video = VIDEO.format(pattern=asked["pattern"], last=asked["count"] - 1, fps=asked["fps"])
    for path, launch in {"/video": video, "/sound": SOUND}.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        permissions = GstRtspServer.RTSPPermissions.new()
        permissions.add_role_from_structure(role)
        factory.set_permissions(permissions)
        mounts.add_factory(path, factory)
    if asked["user"] is not None or asked["certificate"]:
        auth = GstRtspServer.RTSPAuth.new()
        token = GstRtspServer.RTSPToken.new()
        token.set_string("media.factory.role", "viewer")
        if asked["user"] is None:
            auth.set_default_token(token)
        else:
            basic = GstRtspServer.RTSPAuth.make_basic(asked["user"], asked["password"])
            auth.add_basic(basic, token)
        if asked["certificate"]:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(asked["certificate"]))
        server.set_auth(auth)
    if not server.attach(None):
        sys.exit("the port is taken")
    loop = GLib.MainLoop()
    GLib.io_add_watch(
        GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit()
    )
    print(server.get_bound_port(), flush=True)  # noqa: T201 (told to the test)
    loop.run()


main()
