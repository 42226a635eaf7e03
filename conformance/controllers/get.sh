#!/bin/sh
# Gets the programs of foreign controllers, once for each version, and prints their folder. They are built from Go modules
# as the module proxy serves them; Envoy comes from `conformance/test`.
#     sh conformance/controllers/get.sh contour
#     sh conformance/controllers/get.sh traefik
set -eu
contour_version=v1.33.8
traefik_version=v3.6.12
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wasm-gateway

get_contour() {
    folder=$cache/contour-$contour_version
    if [ ! -x "$folder/contour" ] || [ ! -f "$folder/crds.yaml" ]; then
        module=$(module_folder github.com/projectcontour/contour "$contour_version")
        mkdir -p "$folder"
        (cd "$module" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags '-s -w' -o "$folder/.new" ./cmd/contour)
        install -m 644 "$module/examples/contour/01-crds.yaml" "$folder/crds.yaml"
        mv "$folder/.new" "$folder/contour"
    fi
    echo "$folder"
}

# Its web UI is not in the module. The build wants the folder, so it gets an empty page.
get_traefik() {
    folder=$cache/traefik-$traefik_version
    if [ ! -x "$folder/traefik" ]; then
        module=$(module_folder github.com/traefik/traefik/v3 "$traefik_version")
        work=$(mktemp -d)
        trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
        cp -r "$module/." "$work"
        chmod -R u+w "$work"
        mkdir -p "$work/webui/static" "$folder"
        echo >"$work/webui/static/index.html"
        flags="-s -w -X github.com/traefik/traefik/v3/pkg/version.Version=${traefik_version#v}"
        (cd "$work" && CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$folder/.new" ./cmd/traefik)
        mv "$folder/.new" "$folder/traefik"
    fi
    echo "$folder"
}

module_folder() {
    go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'
}

case ${1:-} in
contour) get_contour ;;
traefik) get_traefik ;;
*)
    echo 'usage: get.sh contour|traefik' >&2
    exit 2
    ;;
esac
