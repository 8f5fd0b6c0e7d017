#!/bin/sh
# Installs defect-monitor on this machine as a service, removes it, or returns to the previous release. As root:
#   deploy/install.sh install     build a release in /opt/defect-monitor/releases and point `current` to it
#   deploy/install.sh rollback    exchange `current` and `previous`
#   deploy/install.sh uninstall   remove everything except settings, data and user
# A running service keeps its release until it is restarted. GPU=1 installs TensorFlow's CUDA libraries as well.
# REDIS=1 adds deploy/redis/defect-monitor.conf to the settings of a Redis or Valkey on this machine.
# WHEELS=FOLDER installs without a network, from the files that `make wheels` collected. PYTHON=PROGRAM selects
# another interpreter than python3.
set -eu
umask 022 # root's own may be 077, and the service's user must be able to read the release
cd "$(dirname "$0")/.."

root=/opt/defect-monitor
settings=/etc/defect-monitor
units=/usr/local/lib/systemd/system
user=defect-monitor
python=${PYTHON:-python3}
case ${GPU:-0} in
0 | "") kind="" size="2 GB" ;;
1) kind=-gpu size="6 GB" ;;
*) echo "deploy/install.sh: GPU=$GPU: set 1 or 0" >&2 && exit 2 ;;
esac
lock=deploy/runtime$kind.lock

fail() {
    echo "deploy/install.sh: $*" >&2
    exit 1
}

check_machine() {
    missing=""
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    ldconfig -p | grep -q libGL.so.1 || missing="$missing libgl1" # opencv-python links against it
    ldconfig -p | grep -q libglib-2.0.so.0 || missing="$missing libglib2.0-0"
    [ -z "$missing" ] || fail "packages are missing; run: apt-get install$missing"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is required, this is $("$python" --version); set PYTHON to another interpreter"
}

release_name() { # version, kind and a digest of sources and interpreter: equal input gives an equal name
    version=$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
    digest=$({
        find monitor deploy configs README.md pyproject.toml -type f ! -name '*.pyc' -exec sha256sum {} + |
            LC_ALL=C sort -k2
        "$python" -c 'import sys; print(sys.implementation.cache_tag)' # such as cpython-311
    } | sha256sum | cut -c1-10)
    echo "$version$kind-$digest"
}

runs() { # whether the release in folder $1 is complete and its interpreter still works
    [ -e "$1/complete" ] && "$1/bin/defect-monitor" --version >/dev/null 2>&1
}

pip_install() {
    if [ -n "${WHEELS:-}" ]; then
        set -- --no-index --find-links "$WHEELS" "$@"
    fi
    "$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps "$@"
}

build_release() {
    if runs "$release"; then
        return
    fi
    echo "installing into $release (about $size)"
    rm -rf "$release" # an interrupted installation, or one whose interpreter was upgraded or removed
    mkdir -p "$root/releases"
    "$python" -m venv "$release"
    pip_install --require-hashes -r "$lock"
    # From a copy: the build must not leave files beside the sources, which may belong to another user.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -R monitor README.md LICENSE pyproject.toml "$copy"
    pip_install --no-build-isolation "$copy"
    "$release/bin/python" -m pip check --disable-pip-version-check >&2 ||
        fail "$lock does not match pyproject.toml: run \`make lock\`"
    mkdir "$release/units" "$release/deploy"
    cp deploy/systemd/*.service "$release/units"
    cp README.md "$release"
    cp deploy/README.md "$release/deploy"
    chmod -R go+rX "$release" # the sources may have come with narrower rights
    as_user "$release/bin/defect-monitor" --version >/dev/null || fail "the user $user cannot run the new release"
    touch "$release/complete"
}

point() { # point LINK at RELEASE in one step, so that LINK always exists
    ln -sfn "$2" "$1.new"
    mv -T "$1.new" "$1"
}

activate() { # let the next start use release $1
    before=$(readlink "$root/current" || true)
    if [ -n "$before" ] && [ "$before" != "$1" ]; then
        point "$root/previous" "$before"
    fi
    point "$root/current" "$1"
    mkdir -p "$units" /usr/local/bin
    install -m 644 "$root/current/units"/*.service "$units"
    ln -sfn "$root/current/bin/defect-monitor" /usr/local/bin/defect-monitor
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    echo "$root/current is now $1; run \`systemctl restart defect-monitor\` to use it"
}

make_user() {
    getent passwd "$user" >/dev/null ||
        useradd --system --user-group --home-dir /var/lib/defect-monitor --no-create-home --shell /usr/sbin/nologin "$user"
    if getent group video >/dev/null; then
        usermod --append --groups video "$user"
    fi
}

as_user() { # run a command with the rights of the service's user
    setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
}

check_interpreter() { # root's own Python may lie in a folder that only root can enter
    as_user "$python" -c "" 2>/dev/null ||
        fail "the user $user cannot run $(command -v "$python"); set PYTHON to another interpreter, such as /usr/bin/python3"
}

make_settings() { # existing files stay
    install -d -m 750 -g "$user" "$settings"
    install -d -m 700 "$settings/secrets"
    [ -e "$settings/line.toml" ] || install -m 640 -g "$user" configs/line.toml "$settings/line.toml"
    install -m 644 -D -t "$settings/examples" configs/*.toml
}

offer_redis_settings() { # a Redis on this machine keeps nothing over a power cut by default
    for server in redis valkey; do
        conf=/etc/$server/$server.conf
        if [ ! -e "$conf" ] || grep -q "^include .*/defect-monitor\.conf" "$conf"; then
            continue
        fi
        if [ "${REDIS:-0}" = 1 ]; then
            install -m 644 deploy/redis/defect-monitor.conf "/etc/$server/defect-monitor.conf"
            printf '\ninclude /etc/%s/defect-monitor.conf\n' "$server" >>"$conf"
            echo "$conf now includes /etc/$server/defect-monitor.conf. If the server holds data, run" \
                "\`$server-cli config set appendonly yes\` first. Then run \`systemctl restart $server-server\`."
        else
            echo "with $conf as it is, a power cut loses acknowledged events; \`make install REDIS=1\` changes that"
        fi
    done
}

remove_old() { # all releases except the current one, the previous one and those that still run
    for old in "$root"/releases/*; do
        case releases/${old##*/} in
        "$(readlink "$root/current")" | "$(readlink "$root/previous" || true)") continue ;;
        esac
        grep -qsaF "$old/bin/" /proc/[0-9]*/cmdline || rm -rf "$old"
    done
}

[ "$(id -u)" = 0 ] || fail "run it as root"
case ${1:-} in
install)
    check_machine
    make_user
    check_interpreter
    name=$(release_name)
    release=$root/releases/$name
    build_release
    make_settings
    offer_redis_settings
    activate "releases/$name"
    remove_old
    ;;
rollback)
    previous=$(readlink "$root/previous") || fail "there is no previous release"
    runs "$root/$previous" || fail "$root/$previous does not run: was its Python upgraded? run \`make install\` instead"
    activate "$previous"
    ;;
uninstall)
    if [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet defect-monitor.service defect-monitor-page.service defect-monitor-archive.service \
            2>/dev/null || true
        systemctl stop 'defect-monitor@*.service'
    fi
    for unit in defect-monitor defect-monitor@ defect-monitor-page defect-monitor-archive; do
        rm -f "$units/$unit.service"
    done
    rm -f /usr/local/bin/defect-monitor
    rm -f /etc/systemd/system/*.wants/defect-monitor@*.service
    rm -rf "$root" /var/cache/defect-monitor /var/cache/private/defect-monitor-page /var/cache/defect-monitor-page
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    echo "not removed: $settings, /var/lib/defect-monitor, /var/lib/defect-monitor-archive and the user $user"
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
