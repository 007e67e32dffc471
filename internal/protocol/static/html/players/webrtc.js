// Plays and publishes over WebRTC: by WHEP and WHIP, or by the requests that SRS had
// before them. No dependencies.

// address makes the address to ask of the parameters that SRS's pages take: server or
// host, api (the API's port), schema, vhost, app, stream. Other parameters go along,
// such as eip, codec or a token. What is whep or whip is asked over HTTP; play and
// publish stand for webrtc://.
export function address(query, here, what) {
  if (query.get('url')) return query.get('url')
  const own = ['server', 'host', 'port', 'api', 'schema', 'vhost', 'app', 'stream', 'autostart', 'audio', 'video', 'url', 'vcodec', 'acodec', 'screen']
  const schema = query.get('schema') || here.protocol.replace(':', '')
  const host = query.get('server') || query.get('host') || here.hostname
  const port = query.get('api') || query.get('port') || (schema === 'https' ? '1990' : '1985')
  const app = query.get('app') || 'live'
  const stream = query.get('stream') || 'livestream'
  const more = [...query].filter(([name]) => !own.includes(name))
  if (query.get('vhost')) more.push(['vhost', query.get('vhost')])
  const params = list => new URLSearchParams(list).toString()
  if (what === 'whip' || what === 'whep') return `${schema}://${host}:${port}/rtc/v1/${what}/?${params([['app', app], ['stream', stream], ...more])}`
  if (schema === 'https') more.push(['schema', schema])
  return `webrtc://${host}:${port}/${app}/${stream}${more.length ? '?' + params(more) : ''}`
}

// play shows a stream in video; want says which of audio and video is wanted. say is
// told in words what happens. The result is a function that stops.
export function play(video, url, want, say) {
  return session(url, 'play', say, async pc => {
    for (const kind of ['audio', 'video']) if (want[kind]) pc.addTransceiver(kind, { direction: 'recvonly' })
    const stream = new MediaStream()
    pc.ontrack = e => stream.addTrack(e.track)
    video.srcObject = stream
    // With sound where the browser lets it, else muted until somebody says otherwise.
    video.muted = false
    video.play().catch(() => {
      video.muted = true
      video.play().catch(() => {})
    })
    return () => { video.srcObject = null }
  }, stats => {
    const q = video.getVideoPlaybackQuality()
    const sound = find(stats, 'inbound-rtp', 'audio')
    const picture = find(stats, 'inbound-rtp', 'video')
    const frames = Math.max(q.totalVideoFrames, picture?.framesDecoded ?? 0) // Firefox counts those of files only
    return [video.videoWidth && `${video.videoWidth}×${video.videoHeight}`, codec(stats, picture), `${frames} frames`, `${picture?.freezeCount ?? 0} freezes`,
      codec(stats, sound), sound && `sound energy ${(sound.totalAudioEnergy ?? 0).toFixed(6)}`]
  })
}

// publish sends camera and microphone, and shows them in video.
export function publish(video, url, want, say) {
  return session(url, 'publish', say, async pc => {
    const wish = { audio: want.audio, video: want.video && { width: { ideal: 640 }, height: { ideal: 360 } } }
    const stream = want.screen ? await navigator.mediaDevices.getDisplayMedia(wish) : await navigator.mediaDevices.getUserMedia(wish)
    for (const track of stream.getTracks()) {
      const sender = pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] })
      const codec = track.kind === 'video' ? want.codec : want.sound
      if (codec) choose(sender, track.kind, codec)
    }
    video.srcObject = stream
    return () => {
      for (const track of stream.getTracks()) track.stop()
      video.srcObject = null
    }
  }, stats => {
    const sound = find(stats, 'outbound-rtp', 'audio')
    const picture = find(stats, 'outbound-rtp', 'video')
    return [picture?.frameWidth && `${picture.frameWidth}×${picture.frameHeight}`, codec(stats, picture), picture && `${picture.framesEncoded} frames`,
      codec(stats, sound), sound && `${sound.packetsSent} packets of sound`]
  })
}

// choose leaves one codec alone, and what goes with any: a server has its own order of them.
function choose(transceiver, kind, name) {
  const all = RTCRtpSender.getCapabilities(kind).codecs
  const is = (c, what) => c.mimeType.toLowerCase() === kind + '/' + what.toLowerCase()
  if (!all.some(c => is(c, name))) throw new Error(`This browser cannot send ${name}.`)
  transceiver.setCodecPreferences(all.filter(c => [name, 'rtx', 'red', 'ulpfec', 'flexfec-03', 'cn', 'telephone-event'].some(what => is(c, what))))
}

function find(stats, type, kind) {
  return [...stats.values()].find(s => s.type === type && s.kind === kind)
}

function codec(stats, rtp) {
  return rtp && stats.get(rtp.codecId)?.mimeType.replace(/^.*\//, '')
}

function session(url, what, say, prepare, facts) {
  const pc = new RTCPeerConnection()
  let stopped = false
  let clean = () => {}
  let gone = ''
  let timer
  const stop = () => {
    if (stopped) return
    stopped = true
    clearInterval(timer)
    clean()
    pc.close()
    if (gone) fetch(gone, { method: 'DELETE', keepalive: true }).catch(() => {})
  }
  pc.onconnectionstatechange = () => {
    if (pc.connectionState === 'failed') say('No media come or go: the server cannot be reached at the addresses that it tells.', true)
    if (pc.connectionState === 'closed' || pc.connectionState === 'disconnected') say('The connection has ended.', true)
  }
  ;(async () => {
    say('Connecting.')
    clean = await prepare(pc)
    await pc.setLocalDescription()
    const answer = await ask(url, what, pc.localDescription.sdp)
    gone = answer.location
    if (stopped) return
    await pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp })
    timer = setInterval(async () => {
      if (pc.connectionState !== 'connected') return
      say('connected, ' + facts(await pc.getStats()).filter(Boolean).join(', '))
    }, 500)
  })().catch(e => say(e.message, true))
  addEventListener('pagehide', stop)
  return stop
}

// ask sends an offer and returns the answer.
async function ask(url, what, sdp) {
  if (url.startsWith('webrtc://')) {
    const u = new URL(url.replace('webrtc://', 'http://'))
    const schema = u.searchParams.get('schema') || location.protocol.replace(':', '')
    const api = `${schema}://${u.hostname}:${u.port || (schema === 'https' ? 1990 : 1985)}/rtc/v1/${what}/`
    const query = new URLSearchParams([...u.searchParams].filter(([name]) => ['eip', 'candidate', 'codec', 'encrypt', 'dtls'].includes(name)))
    const body = { api, tid: Math.random().toString(16).slice(2, 9), streamurl: url, clientip: null, sdp }
    const reply = await (await fetch(`${api}?${query}`, { method: 'POST', body: JSON.stringify(body) })).json()
    if (reply.code) throw new Error(`The server refuses: ${reply.text ?? 'code ' + reply.code}.`)
    return { sdp: reply.sdp, location: '' }
  }
  const reply = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: sdp })
  const text = await reply.text()
  if (reply.status !== 201) {
    let why = text
    try { why = JSON.parse(text).detail } catch {}
    throw new Error(`The server answers ${reply.status}: ${why}.`)
  }
  const session = reply.headers.get('Location')
  return { sdp: text, location: session && new URL(session, reply.url).href } // it may have been redirected
}

// page joins a page's form to one of the functions above. what is how the server is asked,
// but under another name the page asks it otherwise.
export function page(run, what, name, otherwise) {
  if (location.pathname.endsWith(`/${name}.html`)) what = otherwise
  const query = new URLSearchParams(location.search)
  const [video, url, state] = ['video', 'url', 'state'].map(id => document.getElementById(id))
  const want = { audio: query.get('audio') !== 'false', video: query.get('video') !== 'false', codec: query.get('vcodec') || '', sound: query.get('acodec') || '', screen: query.get('screen') === 'true' }
  let stop = null
  url.value = address(query, location, what)
  const start = () => {
    stop?.()
    stop = run(video, url.value, want, (text, bad) => {
      state.textContent = text
      state.className = bad ? 'error' : ''
    })
  }
  document.getElementById('form').addEventListener('submit', e => {
    e.preventDefault()
    start()
  })
  document.getElementById('stop')?.addEventListener('click', () => {
    stop?.()
    state.textContent = 'Stopped.'
  })
  if (query.get('autostart') === 'true') start()
}
