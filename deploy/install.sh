#!/bin/sh
# Puts defect-monitor on this machine as a service, takes it away, or goes back to the release before.
#   deploy/install.sh install     a release beside the others in /opt/defect-monitor/releases, then `current` names it
#   deploy/install.sh rollback    `current` and `previous` change places
#   deploy/install.sh uninstall   all of it, but for settings, data and user
# A running service keeps its release until it is restarted. WHEELS=FOLDER installs from the files that
# `make wheels` collected, without a network. PYTHON names another interpreter than python3.
set -eu
cd "$(dirname "$0")/.."

root=/opt/defect-monitor
settings=/etc/defect-monitor
units=/usr/local/lib/systemd/system
user=defect-monitor
python=${PYTHON:-python3}

fail() {
    echo "deploy/install.sh: $*" >&2
    exit 1
}

check_machine() {
    missing=""
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    ldconfig -p | grep -q libGL.so.1 || missing="$missing libgl1" # opencv-python's window code links against it
    ldconfig -p | grep -q libglib-2.0.so.0 || missing="$missing libglib2.0-0"
    [ -z "$missing" ] || fail "these packages are missing: apt-get install$missing"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; this is $("$python" --version). Set PYTHON to another one."
}

release_name() { # the version, and a digest of all that goes into a release: the same sources, the same name
    version=$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
    digest=$(find monitor deploy configs README.md pyproject.toml -type f ! -name '*.pyc' -exec sha256sum {} + |
        LC_ALL=C sort -k2 | sha256sum | cut -c1-10)
    echo "$version-$digest"
}

pip_install() {
    if [ -n "${WHEELS:-}" ]; then
        set -- --no-index --find-links "$WHEELS" "$@"
    fi
    "$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps "$@"
}

build_release() {
    [ -e "$release/complete" ] && return
    echo "installing into $release (about 2 GB)"
    rm -rf "$release" # what an interrupted run left
    mkdir -p "$root/releases"
    "$python" -m venv "$release"
    pip_install --require-hashes -r deploy/runtime.lock
    # From a copy: a build must not leave files beside the sources, which may belong to somebody else.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -R monitor README.md LICENSE pyproject.toml "$copy"
    pip_install --no-build-isolation "$copy"
    mkdir "$release/units"
    cp deploy/systemd/*.service "$release/units"
    cp README.md "$release"
    "$release/bin/defect-monitor" --version >/dev/null || fail "the new release does not run"
    touch "$release/complete"
}

point() { # point LINK at RELEASE in one step: no moment without it
    ln -sfn "$2" "$1.new"
    mv -T "$1.new" "$1"
}

activate() { # make RELEASE the one that the next start takes
    was=$(readlink "$root/current" || true)
    if [ -n "$was" ] && [ "$was" != "$1" ]; then
        point "$root/previous" "$was"
    fi
    point "$root/current" "$1"
    mkdir -p "$units" /usr/local/bin
    install -m 644 "$root/current/units"/*.service "$units"
    ln -sfn "$root/current/bin/defect-monitor" /usr/local/bin/defect-monitor
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    echo "$root/current is now $1; \`systemctl restart defect-monitor\` takes it up"
}

make_user() {
    getent passwd "$user" >/dev/null ||
        useradd --system --user-group --home-dir /var/lib/defect-monitor --no-create-home --shell /usr/sbin/nologin "$user"
    if getent group video >/dev/null; then
        usermod --append --groups video "$user"
    fi
}

make_settings() { # what is there stays
    install -d -m 750 -g "$user" "$settings"
    install -d -m 700 "$settings/secrets"
    [ -e "$settings/line.toml" ] || install -m 640 -g "$user" configs/line.toml "$settings/line.toml"
    install -m 644 -D -t "$settings/examples" configs/*.toml
}

remove_old() { # all releases but the current, the one before, and what still runs
    for old in "$root"/releases/*; do
        case releases/${old##*/} in
        "$(readlink "$root/current")" | "$(readlink "$root/previous" || true)") continue ;;
        esac
        grep -qsaF "$old/bin/" /proc/[0-9]*/cmdline || rm -rf "$old"
    done
}

[ "$(id -u)" = 0 ] || fail "only root can do this"
case ${1:-} in
install)
    check_machine
    name=$(release_name)
    release=$root/releases/$name
    build_release
    make_user
    make_settings
    activate "releases/$name"
    remove_old
    ;;
rollback)
    before=$(readlink "$root/previous") || fail "there is no release before this one"
    activate "$before"
    ;;
uninstall)
    if [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet defect-monitor.service 2>/dev/null || true
        systemctl stop 'defect-monitor@*.service'
    fi
    rm -f "$units/defect-monitor.service" "$units/defect-monitor@.service" /usr/local/bin/defect-monitor
    rm -f /etc/systemd/system/*.wants/defect-monitor@*.service
    rm -rf "$root" /var/cache/defect-monitor
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    echo "left as they are: $settings, /var/lib/defect-monitor and the user $user"
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
