"""Open WebUI as far as a switch knows it, and a systemd that runs one in each slot.

Arguments of the WebUI: its data directory, its port, its image, and how often it was started. What its image ends with
is what is wrong with it.
"""

import json
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn

PASSWORD = "not-a-real-password"

SYSTEMCTL = r"""
folder=@FOLDER@
alive() {
    [ -s $folder/$1.pid ] && read -r _ _ state _ <"/proc/$(cat $folder/$1.pid)/stat" 2>/dev/null && [ "$state" != Z ]
}
slot_of() { slot=${1%.service}; slot=${slot#open-webui-}; }
verb=$1; shift
for name in "$@"; do
    case $name in *.service) ;; *) continue ;; esac
    slot_of $name
    unit=$folder/host/etc/containers/systemd/open-webui-$slot.container
    case "$verb $slot" in
    "show tandem-"*) printf 'Id=%s\nLoadState=loaded\nActiveState=active\nSubState=x\n\n' $name ;;
    show*)
        load=loaded; [ -e $unit ] || load=not-found
        active=inactive; [ -e $folder/$slot.pid ] && active=failed; alive $slot && active=active
        printf 'Id=%s\nLoadState=%s\nActiveState=%s\nSubState=x\n\n' $name $load $active ;;
    start*)
        if [ ! -e $folder/host/var/lib/tandem/parked/open-webui-$slot ] && ! alive $slot; then
            starts=$(( $(cat $folder/$slot.starts 2>/dev/null || echo 0) + 1 )); echo $starts >$folder/$slot.starts
            image=$(sed -n 's/^Image=//p' $unit)
            setsid @PYTHON@ -IS @PROGRAM@ $folder/host/var/lib/tandem/webui/$slot $(cat $folder/$slot.port) $image \
                $starts </dev/null >/dev/null 2>$folder/$slot.log &
            echo $! >$folder/$slot.pid
        fi ;;
    reset-failed*) alive $slot || rm -f $folder/$slot.pid ;;
    stop*)
        if alive $slot; then kill $(cat $folder/$slot.pid); while alive $slot; do sleep 0.01; done; fi
        rm -f $folder/$slot.pid ;;
    try-reload*) kill -HUP $(cat $folder/nginx/pid) ;;
    esac
done
[ $verb = running ] && for slot in blue green; do alive $slot && echo open-webui-$slot; done
exit 0
"""


def systemctl(folder: Path) -> str:
    """A shell script that does as systemctl for the units of ``folder``/host; ``running`` names what runs."""
    words = {"@FOLDER@": str(folder), "@PYTHON@": sys.executable, "@PROGRAM@": __file__}
    text = SYSTEMCTL
    for mark, word in words.items():
        text = text.replace(mark, f"'{word}'")
    return text


class Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = daemon_threads = True


def main(data: str, port: str, image: str, starts: str) -> None:
    if image.endswith("-dies") or (image.endswith("-second-start") and int(starts) > 1):
        sys.exit(1)
    with sqlite3.connect(f"{data}/webui.db") as database:
        if image.endswith("-loses-a-chat"):
            database.execute("DELETE FROM chat WHERE id = 'two'")
        # As a one-way migration: it shows who has worked on this database.
        database.execute("CREATE TABLE IF NOT EXISTS migrated (image TEXT)")
        database.execute("INSERT INTO migrated VALUES (?)", (image,))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/ws/") and not image.endswith("-no-websocket"):
                self.send_response(101)
                self.end_headers()
            elif self.path == "/api/models":
                models = [] if image.endswith("-no-model") else [{"id": "the-model"}]
                self.answer(200, json.dumps({"data": models}).encode())
            elif self.path == "/version":
                self.answer(200, image.encode())
            else:
                self.answer(200, b"<html></html>")

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            right = said["password"] == PASSWORD and not image.endswith("-no-sign-in")
            self.answer(*((200, b'{"token": "t"}') if right else (400, b"{}")))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    Server(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
