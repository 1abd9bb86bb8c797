// A connection from outside by SOCKS 5 BIND (RFC 1928, section 6): node - plain PROXY PORT HOST:PORT WORDS, where
// HOST is an address of this machine. It says "granted" or "refused WHY", then "brought" and what it brought.
const net = require("net");

const [, proxy, port, to, words] = process.argv.slice(2);
const [address] = to.split(":");
let said = Buffer.alloc(0);
let bound = false;

function refused(why) {
  console.log(`refused ${why}`);
  process.exit();
}

// Come from the address that the proxy was told to wait for.
function come(reply) {
  if (reply[1] !== 0) refused(`reply field ${reply[1]}`);
  console.log("granted");
  bound = true;
  const named = Array.from(reply.subarray(4, 8)).join(".");
  const host = named === "0.0.0.0" ? proxy : named;
  const caller = net.connect({ host, port: reply.readUInt16BE(8), localAddress: address });
  caller.on("connect", () => caller.write(words));
  caller.on("error", (error) => refused(error.message));
}

const octets = [...address.split(".").map(Number), 0, 0];
const control = net.connect(Number(port), proxy, () => control.write(Buffer.from([5, 1, 0])));
control.on("error", (error) => refused(error.message));
control.on("close", () => refused("hung up"));
control.on("data", (more) => {
  said = Buffer.concat([said, more]);
  if (said.length >= 2 && said[1] !== 0) refused(`method ${said[1]}`);
  if (said.length === 2) control.write(Buffer.from([5, 2, 0, 1, ...octets]));
  if (said.length >= 12 && !bound) come(said.subarray(2, 12));
  // The second reply says who came; what follows is what was brought.
  if (said.length > 22) {
    console.log(`brought ${said.subarray(22)}`);
    process.exit();
  }
});
setTimeout(() => process.exit(), 6000);
