// One line to a destination by SOCKS 5 UDP ASSOCIATE (RFC 1928, section 7): node - plain PROXY PORT HOST:PORT
// WORDS [STRANGER]. It says "granted" or "refused WHY", then what came back. Where another address of this machine
// is named, the words are said from there, after the client has had an answer to words of its own.
const dgram = require("dgram");
const net = require("net");

const [, proxy, port, to, words, stranger] = process.argv.slice(2);
const [address, toPort] = to.split(":");
const chunks = [];

function refused(why) {
  console.log(`refused ${why}`);
  process.exit();
}

function associated(reply) {
  if (reply[1] !== 0) refused(`reply field ${reply[1]}`);
  console.log("granted");
  const named = Array.from(reply.subarray(4, 8)).join(".");
  const relay = named === "0.0.0.0" ? proxy : named;
  const head = Buffer.from([0, 0, 0, 1, ...address.split(".").map(Number), toPort >> 8, toPort & 255]);
  const say = (udp, line) => udp.send(Buffer.concat([head, Buffer.from(line)]), reply.readUInt16BE(8), relay);
  const client = dgram.createSocket("udp4");
  let intruder = null;
  function answered(datagram) {
    if (stranger && !intruder) {
      intruder = dgram.createSocket("udp4");
      intruder.on("message", answered); // or the client hears it
      intruder.bind(0, stranger, () => say(intruder, words));
      return;
    }
    process.stdout.write(datagram.subarray(10));
    process.exit();
  }
  client.on("message", answered);
  say(client, stranger ? "the client itself\n" : words);
}

const control = net.connect(Number(port), proxy, () => control.write(Buffer.from([5, 1, 0])));
control.on("error", (error) => refused(error.message));
control.on("close", () => refused("hung up"));
control.on("data", (octets) => {
  chunks.push(octets);
  const said = Buffer.concat(chunks);
  if (said.length >= 2 && said[1] !== 0) refused(`method ${said[1]}`);
  if (said.length === 2) control.write(Buffer.from([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]));
  if (said.length >= 12) associated(said.subarray(2));
});
setTimeout(() => process.exit(), 6000);
