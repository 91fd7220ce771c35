# serve PROGRAM STORE LOG [OPTION...]: a server of this machine's users; gives its process as `server`, its port as PGPORT.
serve() {
    local program="$1" store="$2" log="$3"
    shift 3
    "$program" serve --store "$store" --listen 127.0.0.1:0 --http off --log off "$@" 2>"$log" &
    server=$!
    for _ in $(seq 600); do
        grep -q 'psql -h' "$log" && break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    grep -q 'psql -h' "$log" || { cat "$log"; exit 1; }
    PGPORT="$(sed -n 's/.*psql -h .* -p \([0-9]*\) .*/\1/p' "$log")"
    export PGPORT
}
