# Steps that install. Sourced by scripts/test; everything but Debian's packages goes to target/.

# Stops the step with a text of one line that says what to do.
fail() {
  echo "scripts/test: $*" >&2
  exit 1
}

# Runs a download again when the network failed it.
retry() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    echo "attempt $attempt of 3 failed: $*" >&2
    sleep $((attempt * 2))
  done
  return 1
}

# `unchanged STAMP FILE...`: whether the files are those of the last `remember STAMP FILE...`.
unchanged() { [[ -f $1 && $(<"$1") == "$(cat "${@:2}" | sha256sum)" ]]; }
remember() { cat "${@:2}" | sha256sum >"$1"; }

has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# librdkafka is built from source by its own configure script: it takes cc, c++, make, and the headers of zlib and OpenSSL.
step_system() {
  local packages=()
  command -v cargo >/dev/null || fail "Rust is missing: install the version that Cargo.toml names"
  command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null || packages+=(build-essential)
  echo '#include <zlib.h>' | cc -E - >/dev/null 2>&1 || packages+=(zlib1g-dev)
  # For TLS to brokers. OpenSSL built from source would cost the gate minutes.
  echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1 || packages+=(libssl-dev)
  command -v pkg-config >/dev/null || packages+=(pkg-config)
  command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || packages+=(maven)
  has_venv || packages+=(python3 python3-venv)
  ((${#packages[@]} == 0)) && echo "nothing is missing" && return
  command -v apt-get >/dev/null && ((EUID == 0)) || fail "install these (Debian's names) and try again: ${packages[*]}"
  echo "installing ${packages[*]}"
  retry apt-get -q update
  DEBIAN_FRONTEND=noninteractive retry apt-get -q install -y --no-install-recommends "${packages[@]}"
}

ensure_venv() {
  [[ -x target/venv/bin/pip ]] && return
  has_venv || fail "Python's venv module is missing: bash scripts/test system"
  python3 -m venv --clear target/venv
}

# `pip_install NAME FILE`: installs a requirements file once for each of its contents.
pip_install() {
  local stamp=target/venv/$1.stamp
  ensure_venv
  unchanged "$stamp" "$2" && echo "$2: nothing has changed" && return
  retry target/venv/bin/pip install --quiet --disable-pip-version-check -r "$2"
  remember "$stamp" "$2"
}

step_kafka() {
  local stamp=target/kafka/stamp
  unchanged "$stamp" tests/kafka/pom.xml && echo "nothing has changed" && return
  command -v mvn >/dev/null || fail "Maven is missing: bash scripts/test system"
  rm -rf target/kafka
  # -C: a jar whose checksum is wrong is refused.
  retry mvn -q -B -C -f tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/target/kafka"
  remember "$stamp" tests/kafka/pom.xml
  echo "$(find target/kafka -name '*.jar' | wc -l) jars"
}

step_python() {
  pip_install models tests/models/requirements.txt
  pip_install clients tests/clients/requirements.txt
}

step_models() {
  local stamp=target/models/stamp
  local sources=(tests/models/*.py tests/models/requirements.txt)
  unchanged "$stamp" "${sources[@]}" && echo "nothing has changed" && return
  step_python
  rm -rf target/models
  mkdir -p target/models
  PYTHONPYCACHEPREFIX="$PWD/target/venv/pycache" target/venv/bin/python tests/models/export.py target/models
  remember "$stamp" "${sources[@]}"
}

step_pandas() {
  local stamp=target/operators/stamp script=tests/operators/reference.py
  unchanged "$stamp" "$script" tests/models/requirements.txt && echo "nothing has changed" && return
  step_python
  rm -rf target/operators
  mkdir -p target/operators
  PYTHONPYCACHEPREFIX="$PWD/target/venv/pycache" target/venv/bin/python "$script" target/operators
  remember "$stamp" "$script" tests/models/requirements.txt
}
