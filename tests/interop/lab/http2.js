// CONNECT over HTTP/2: node - plain|tls PROXY PORT HOST:PORT WORDS. It says "granted" or "refused WHY",
// then what came through the tunnel.
const http2 = require("http2");

const [transport, proxy, port, to, words] = process.argv.slice(2);
const host = proxy.includes(":") ? `[${proxy}]` : proxy;

function refused(why) {
  console.log(`refused ${why}`);
  process.exit();
}

const session = http2.connect(`${transport === "tls" ? "https" : "http"}://${host}:${port}`, {
  rejectUnauthorized: false,
});
session.on("error", (error) => refused(error.message));
const tunnel = session.request({ ":method": "CONNECT", ":authority": to });
tunnel.on("error", (error) => refused(error.message));
tunnel.on("response", (head) => {
  if (head[":status"] < 200 || head[":status"] > 299) refused(head[":status"]);
  console.log(`granted ${head[":status"]}`);
  tunnel.write(words);
});
tunnel.on("data", (octets) => process.stdout.write(octets));
tunnel.on("end", () => process.exit());
setTimeout(() => process.exit(), 6000);
