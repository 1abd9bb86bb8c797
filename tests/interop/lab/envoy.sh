# Says words through Envoy, whose configuration comes on standard input: sh -c ... sh tcp|udp WORDS. What comes
# back is printed, then what Envoy heard from the proxy.
cat > /run/envoy.yaml
/opt/pip/envoy/_bin/envoy -c /run/envoy.yaml --base-id 7 --concurrency 1 -l debug > /run/envoy.log 2>&1 &
envoy=$!
for _ in $(seq 50); do
    grep -q "starting main dispatch loop" /run/envoy.log && break
    sleep 0.1
done
if [ "$1" = udp ]; then
    (printf %s "$2"; sleep 2) | ncat -u -w 3 127.0.0.1 18081
else
    (printf %s "$2"; sleep 2) | ncat --no-shutdown -w 4 127.0.0.1 18080
fi
kill "$envoy"
wait "$envoy"
grep -o "Received headers: { :status=[0-9]*" /run/envoy.log
grep -o "failure reason: .*" /run/envoy.log
true
