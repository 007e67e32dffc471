// Plays a live stream that comes as one endless fragmented MP4, with Media
// Source Extensions. No dependencies.

// behind is how far the picture may be behind the newest data, in seconds,
// before it jumps, and target is where it then goes on.
const behind = 3
const target = 0.5
// keep is how much of the past stays in the buffer, in seconds.
const keep = 20

// fromQuery makes a stream's address of the parameters that SRS's player pages
// take: app, stream, vhost, server, port, schema.
export function fromQuery(query, here) {
  if (query.get('url')) return query.get('url')
  const schema = query.get('schema') || here.protocol.replace(':', '')
  const host = query.get('server') || here.hostname
  const port = query.get('port') || (query.get('server') ? '' : here.port)
  const app = query.get('app') || 'live'
  const stream = (query.get('stream') || 'livestream').replace(/\.(flv|m3u8|mp4)$/, '')
  const url = new URL(`${schema}://${host}${port ? ':' + port : ''}/${app}/${stream}.mp4`)
  if (query.get('vhost') && query.get('vhost') !== host) url.searchParams.set('vhost', query.get('vhost'))
  return url.href
}

// play shows the stream at url in video, and goes on trying when it ends. say
// is told in words what happens. The result is a function that stops.
export function play(video, url, say) {
  const control = new AbortController()
  run(video, url.replace(/\.flv(\?|$)/, '.mp4$1'), say, control.signal)
  return () => control.abort()
}

async function run(video, url, say, signal) {
  while (!signal.aborted) {
    try {
      await session(video, url, say, signal)
      say('The stream has ended; waiting for the next one.')
    } catch (e) {
      if (signal.aborted) break
      say(e.message, true)
    }
    await new Promise(done => setTimeout(done, 1000))
  }
}

async function session(video, url, say, signal) {
  if (!window.MediaSource) throw new Error('This browser has no Media Source Extensions.')
  const end = new AbortController()
  const either = AbortSignal.any([signal, end.signal])
  say('Waiting for the stream.')
  const answer = await fetch(url, { signal: either, cache: 'no-store' })
  if (answer.status === 404) throw new Error('The stream is not live.')
  if (!answer.ok) throw new Error(`The server answers ${answer.status} ${answer.statusText}.`)
  const type = answer.headers.get('Content-Type')
  if (!MediaSource.isTypeSupported(type)) throw new Error(`This browser cannot play ${type}.`)

  const source = new MediaSource()
  video.src = URL.createObjectURL(source)
  await new Promise(open => source.addEventListener('sourceopen', open, { once: true }))
  URL.revokeObjectURL(video.src)
  const buffer = source.addSourceBuffer(type)
  let timer
  try {
    timer = setInterval(() => follow(video, buffer, say), 500)
    const reader = answer.body.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      await append(buffer, value)
      await trim(video, buffer)
      if (video.paused && !video.dataset.paused) video.play().catch(() => {})
    }
  } finally {
    clearInterval(timer)
    end.abort()
  }
}

function settled(buffer) {
  return new Promise((done, fail) => {
    const ok = () => { clean(); done() }
    const bad = () => { clean(); fail(new Error('The browser cannot decode the stream.')) }
    const clean = () => {
      buffer.removeEventListener('updateend', ok)
      buffer.removeEventListener('error', bad)
    }
    buffer.addEventListener('updateend', ok)
    buffer.addEventListener('error', bad)
  })
}

async function append(buffer, bytes) {
  const done = settled(buffer)
  buffer.appendBuffer(bytes)
  await done
}

async function trim(video, buffer) {
  if (!buffer.buffered.length || buffer.updating) return
  const to = video.currentTime - keep
  if (to - buffer.buffered.start(0) < keep) return
  const done = settled(buffer)
  buffer.remove(0, to)
  await done
}

// follow keeps the picture near the newest data.
function follow(video, buffer, say) {
  const n = buffer.buffered.length
  if (!n) return
  const end = buffer.buffered.end(n - 1)
  const start = buffer.buffered.start(n - 1)
  if (video.currentTime < start || end - video.currentTime > behind) video.currentTime = Math.max(start, end - target)
  const q = video.getVideoPlaybackQuality()
  say(`${video.videoWidth}×${video.videoHeight}, ${(end - video.currentTime).toFixed(1)} s behind the newest data, ` +
    `${q.totalVideoFrames} frames, ${q.droppedVideoFrames} dropped`)
}
