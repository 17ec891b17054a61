# shellcheck shell=bash disable=SC2034
# What the scripts of this folder share. Source it; it starts nothing.

HOST_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$HOST_DIR/../.." && pwd)
RUN=${TENANTRY_RUN:-$TOP/.run}
CACHE=${TENANTRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tenantry}/host
STARTED=${TENANTRY_STARTED:-$(date +%s)}
export TENANTRY_STARTED=$STARTED

# The name of this checkout's host: two checkouts on one machine never share one.
INSTANCE=${TENANTRY_INSTANCE:-tenantry-$(printf %s "$RUN" | cksum | awk '{printf "%06x", $1 % 16777216}')}

# One line of progress, with the seconds since the command began.
say() { printf '[%4ds] %s\n' "$(($(date +%s) - STARTED))" "$*"; }

# One clear line and exit code 1.
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" = 0 ]; }

# step "what is done" command...: runs it, says so when it takes long, shows its output when it fails.
step() {
  local what=$1 log began ticker rc
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/tenantry-step.XXXXXX")
  began=$(date +%s)
  say "$what"
  (
    while sleep 15 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do say "  still: $what ($(($(date +%s) - began))s; $(tail -n 1 "$log" | cut -c1-100))"; done
  ) &
  ticker=$!
  # Not `... || rc=$?`: inside a function that stands left of `||`, set -e does not hold.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  rc=$?
  set -e
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  if [ "$rc" != 0 ]; then
    tail -n 40 "$log" >&2
    rm -f "$log"
    die "$what: failed (exit code $rc); its last lines are above"
  fi
  rm -f "$log"
}

quiet() { "$@" >/dev/null 2>&1; }

# wait_for SECONDS "what" command...: until the command succeeds.
wait_for() {
  local limit=$1 what=$2 end
  shift 2
  end=$(($(date +%s) + limit))
  until "$@"; do
    [ "$(date +%s)" -lt "$end" ] || die "$what: not within $limit seconds"
    sleep 0.2
  done
}

# The start time of a process (field 22 of its stat): with the pid it names one process for ever.
# The name in brackets may hold spaces, so count from behind it.
proc_started() {
  local stat
  if [ ! -e /proc/self/stat ]; then
    ps -o lstart= -p "$1" | tr -s ' ' _ | grep .
    return
  fi
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086
  set -- $stat
  echo "${20}"
}

# The process recorded in a file of "pid start-time" is still that process.
proc_alive() {
  local pid started
  [ -f "$1" ] || return 1
  read -r pid started <"$1" || return 1
  [ "$(proc_started "$pid")" = "$started" ]
}

# What kind of host this checkout has or is to have: local, simulated, kind or existing. The answer is kept in .run/kind.
host_kind() {
  if [ -f "$RUN/kind" ]; then cat "$RUN/kind"; else host_choose; fi
}

host_choose() {
  case ${HOST:-} in
  local) if is_root && [ "$(uname -s)" = Linux ]; then echo local; else echo simulated; fi ;;
  simulated | kind | existing) echo "$HOST" ;;
  '') if docker_answers; then echo kind; else HOST=local host_choose; fi ;;
  *) die "HOST=$HOST: want local, kind or existing" ;;
  esac
}

docker_answers() { have docker && docker info >/dev/null 2>&1; }
