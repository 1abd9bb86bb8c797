// A TCP connection relayed by TURN (RFC 6062) without credentials: node - plain PROXY PORT HOST:PORT WORDS.
// It says "granted" or "refused WHY", then what came through.
const net = require("net");
const { randomBytes } = require("crypto");

const COOKIE = Buffer.from("2112a442", "hex");
const [ALLOCATE, CREATE_PERMISSION, CONNECT, CONNECTION_BIND] = [3, 8, 10, 11];
const [ERROR_CODE, PEER, TRANSPORT, CONNECTION_ID] = [0x09, 0x12, 0x19, 0x2a];
const [, proxy, port, to, words] = process.argv.slice(2);
const [address, toPort] = to.split(":");
const octets = [toPort >> 8, toPort & 255, ...address.split(".").map(Number)];
const mask = [0x21, 0x12, ...COOKIE];
const peer = Buffer.from([0, 1, ...octets.map((octet, place) => octet ^ mask[place])]);

function refused(why) {
  console.log(`refused ${why}`);
  process.exit();
}

function message(method, type, value) {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(value.length, 2);
  const start = Buffer.alloc(4);
  start.writeUInt16BE(method, 0);
  start.writeUInt16BE(head.length + value.length, 2);
  return Buffer.concat([start, COOKIE, randomBytes(12), head, value]);
}

function attribute(answer, wanted) {
  for (let at = 20; at < answer.length; ) {
    const length = answer.readUInt16BE(at + 2);
    if (answer.readUInt16BE(at) === wanted) return answer.subarray(at + 4, at + 4 + length);
    at += 4 + Math.ceil(length / 4) * 4;
  }
  return Buffer.alloc(4);
}

// Ask one question after the other on a connection; each step gets the answer to the one before.
function dialogue(steps, rest) {
  const link = net.connect(Number(port), proxy, () => link.write(steps.shift()()));
  let said = Buffer.alloc(0);
  let done = false;
  link.on("error", (error) => refused(error.message));
  link.on("close", () => (done ? process.exit() : refused("hung up")));
  link.on("data", (more) => {
    if (done) return rest(link, more);
    said = Buffer.concat([said, more]);
    const length = said.length < 20 ? 20 : 20 + said.readUInt16BE(2);
    if (said.length < length) return;
    const answer = said.subarray(0, length);
    if ((said.readUInt16BE(0) & 0x0110) !== 0x0100) {
      const code = attribute(answer, ERROR_CODE);
      refused(`${code[2] * 100 + code[3]}`);
    }
    said = said.subarray(length);
    const next = steps.shift()(answer, link);
    if (next) link.write(next);
    else done = true;
    if (done && said.length) rest(link, said);
  });
}

dialogue([
  () => message(ALLOCATE, TRANSPORT, Buffer.from([6, 0, 0, 0])),
  () => (console.log("granted"), message(CREATE_PERMISSION, PEER, peer)),
  () => message(CONNECT, PEER, peer),
  (answer) => {
    const id = attribute(answer, CONNECTION_ID);
    dialogue(
      [() => message(CONNECTION_BIND, CONNECTION_ID, id), (_, link) => void link.write(words)],
      (_, more) => process.stdout.write(more),
    );
  },
]);
setTimeout(() => process.exit(), 6000);
