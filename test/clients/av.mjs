// FFmpeg 8 as a client of the server under test. Debian's own ffmpeg is older
// and can put neither HEVC, AV1 nor Opus into RTMP; the npm package node-av
// carries the libraries of a newer one.
//
//   node av.mjs publish FILE URL [--seconds N]   send FILE in real time, as it is; http is WHIP
//   node av.mjs watch URL [--seconds N]          read URL and say what came
//   node av.mjs list FILE                        say what FILE holds
//
// watch and list print one line of JSON: for each stream its kind, codec, size or
// rate, and of every packet [dts in ms, MD5 of its bytes, 1 for a key frame].
// The exit status is 0 if packets flowed.
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

// node-av asks for a newer Node than Debian's images have.
if (!Promise.withResolvers) {
  Promise.withResolvers = function withResolvers() {
    const it = {};
    it.promise = new this((resolve, reject) => Object.assign(it, { resolve, reject }));
    return it;
  };
}
const av = await import('node-av');
const { Demuxer, Muxer } = await import('node-av/api');

const KINDS = new Map([[av.AVMEDIA_TYPE_VIDEO, 'video'], [av.AVMEDIA_TYPE_AUDIO, 'audio']]);
const milliseconds = (ts, base) => Math.round((Number(ts) * base.num * 1000) / base.den);

/** Packets of the streams that are picture or sound, each with its time in milliseconds. */
async function* timed(input) {
  for await (const packet of input.packets()) {
    if (!packet) return;
    const stream = input.streams[packet.streamIndex];
    if (stream && KINDS.has(stream.codecpar.codecType)) yield { packet, stream, at: milliseconds(packet.dts, stream.timeBase) };
    packet.free();
  }
}

async function publish(file, url, limit) {
  const input = await Demuxer.open(file);
  const output = await Muxer.open(url, { input, format: url.startsWith('http') ? 'whip' : 'flv' });
  const mapped = new Map();
  for (const stream of input.streams) {
    if (!KINDS.has(stream.codecpar.codecType)) continue;
    stream.codecpar.codecTag = 0; // the file's tag means nothing in FLV
    mapped.set(stream.index, output.addStream(stream));
  }
  const began = performance.now();
  let zero, sent = 0;
  for await (const { packet, at } of timed(input)) {
    zero ??= at;
    if (at - zero > limit) break;
    const early = at - zero - (performance.now() - began);
    if (early > 2) await pause(early);
    await output.writePacket(packet, mapped.get(packet.streamIndex));
    sent++;
  }
  await output.close();
  await input.close();
  return { sent };
}

async function watch(url, limit) {
  const input = await Demuxer.open(url);
  const seen = new Map();
  const note = (stream) => {
    const c = stream.codecpar;
    const s = { kind: KINDS.get(c.codecType), codec: av.avGetCodecName(c.codecId), width: c.width, height: c.height, rate: c.sampleRate, bytes: 0, packets: [] };
    seen.set(stream.index, s);
    return s;
  };
  for (const stream of input.streams) if (KINDS.has(stream.codecpar.codecType)) note(stream);
  // Each stream has its own limit: where an encoder is slow its sound may be seconds
  // ahead of its picture, and one packet of each would be all that one limit leaves.
  // A stream from which nothing comes is not waited for longer than five times that.
  const enough = (s) => s.packets.length > 0 && s.packets.at(-1)[0] - s.packets[0][0] > limit;
  for await (const { packet, stream, at } of timed(input)) {
    const s = seen.get(stream.index) ?? note(stream);
    if (enough(s)) {
      if (at - s.packets[0][0] > 5 * limit) break;
      continue;
    }
    s.bytes += packet.size;
    s.packets.push([at, createHash('md5').update(packet.data ?? '').digest('hex'), packet.isKeyframe ? 1 : 0]);
    if ([...seen.values()].every(enough)) break;
  }
  await input.close();
  return { sent: [...seen.values()].reduce((n, s) => n + s.packets.length, 0), streams: [...seen.values()] };
}

const words = process.argv.slice(2);
const flag = words.indexOf('--seconds');
const limit = flag < 0 ? Infinity : Number(words.splice(flag, 2)[1]) * 1000;
const [what, ...rest] = words;
const actions = { publish: [publish, 2], watch: [watch, 1], list: [watch, 1] };
const [action, count] = actions[what] ?? [];
if (!action || rest.length !== count) {
  console.error('usage: av.mjs publish FILE URL | watch URL | list FILE  [--seconds N]');
  process.exit(2);
}
try {
  const { sent, ...said } = await action(...rest, limit);
  process.stdout.write(JSON.stringify({ packets: sent, ...said }) + '\n', () => process.exit(sent > 0 ? 0 : 1));
} catch (err) {
  console.error(`av.mjs: ${err?.stack ?? err}`);
  process.exit(1);
}
