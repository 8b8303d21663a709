// What a client sees through Headgate, nginx and HAProxy when an upstream misbehaves: node bench/faults/run.mjs
// Every proxy has two upstreams (in one case six) and its own defaults, but for the time-outs, which are short. Twelve requests a case, one after
// the other; each case has its own proxies, so that one's verdicts do not colour the next. Prints a table in Markdown.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LOAD_CORE, Skip, freePorts, startNode, startProgram, stop } from '../lib/system.mjs'
import { BODY, faults, startUpstream } from './upstreams.mjs'

const TIMEOUT = 400
const work = mkdtempSync(join(tmpdir(), 'hg-faults-'))
let instances = 0

async function nginx (ports) {
  const folder = join(work, `nginx-${++instances}`)
  mkdirSync(folder)
  const [port] = await freePorts(1)
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  writeFileSync(join(folder, 'nginx.conf'), `daemon off; master_process off; pid ${folder}/pid; error_log /dev/null crit;
events {}
http { access_log off; ${temp}
upstream web { ${ports.map((each) => `server 127.0.0.1:${each};`).join(' ')} keepalive 8; }
server { listen 127.0.0.1:${port};
location / { proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_connect_timeout ${TIMEOUT}ms; proxy_read_timeout ${TIMEOUT}ms; } } }`)
  return startProgram(LOAD_CORE, 'nginx', ['-c', join(folder, 'nginx.conf'), '-e', 'stderr'], port)
}

async function haproxy (ports) {
  const [port] = await freePorts(1)
  const file = join(work, `haproxy-${++instances}.cfg`)
  writeFileSync(file, `defaults
  mode http
  timeout connect ${TIMEOUT}ms
  timeout client 10s
  timeout server ${TIMEOUT}ms
frontend in
  bind 127.0.0.1:${port}
  default_backend web
backend web
${ports.map((each, i) => `  server s${i} 127.0.0.1:${each}`).join('\n')}
`)
  return startProgram(LOAD_CORE, 'haproxy', ['-db', '-f', file], port)
}

const headgate = (ports) => startNode(LOAD_CORE, fileURLToPath(new URL('headgate.mjs', import.meta.url)), { ports, timeout: TIMEOUT })

/** Sends bytes on a connection of its own and tells what came back, in a word or two. */
function ask (port, bytes) {
  return new Promise((resolve) => {
    const chunks = []
    const socket = connect(port, '127.0.0.1', () => { socket.write(bytes) })
    const timer = setTimeout(() => { socket.destroy(new Error('no end')) }, 5000)
    let error = ''
    socket.on('data', (chunk) => { chunks.push(chunk) }).on('error', ({ message }) => { error = message }).on('close', () => {
      clearTimeout(timer)
      const all = Buffer.concat(chunks).toString('latin1')
      const end = all.indexOf('\r\n\r\n')
      const [, status] = /^HTTP\/1\.\d (\d+)/.exec(all) ?? []
      if (status === undefined) return resolve(error === '' ? 'closed' : 'reset')
      const [, length] = /\r\ncontent-length: (\d+)/i.exec(all.slice(0, end)) ?? []
      const body = all.slice(end + 4)
      const broken = length === undefined ? !body.endsWith('0\r\n\r\n') && /\r\ntransfer-encoding/i.test(all.slice(0, end)) : body.length < Number(length)
      const wrong = Number(length) === BODY.length && !broken && !BODY.equals(Buffer.from(body, 'latin1'))
      resolve(`${status}${broken ? ', broken off' : ''}${wrong ? ', WRONG BODY' : ''}`)
    })
  })
}

const get = (path = '/') => `GET ${path} HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n`
const post = 'POST / HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc'
const cases = [
  ['one refuses connections', 'gone', get()], ['… POST', 'gone', post],
  ['one resets before the head', 'reset', get()], ['… POST', 'reset', post],
  ['one closes in its head', 'halfHead', get()],
  ['one resets kept connections (race)', 'race', get()], ['… POST', 'race', post],
  ['one sends a malformed head', 'malformed', get()],
  ['one never answers', 'silent', get()], ['… POST', 'silent', post],
  ['one answers 503', 'busy', get()], ['one answers 429 with Retry-After', 'tooMany', get()],
  ['one breaks off at half of a file', 'breaks', get('/file')], ['one breaks off a chunked body', 'breaksChunked', get()],
  ['both refuse connections', 'none', get()], ['five of six refuse connections', 'most', get()],
  ['request with Content-Length and chunked', 'good', 'POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['request with Content-Length twice', 'good', 'POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'],
  ['Upgrade: h2c', 'good', 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n'],
  ['Expect: 100-continue, the upstream says no', 'good', 'POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n']
]

const COUNT = 12
async function measure (start, fault, bytes) {
  const upstreams = []
  for (let i = 0; i < (fault === 'most' ? 6 : 2); i++) upstreams.push(await startUpstream())
  const ports = upstreams.map(({ port }) => port)
  const gone = upstreams.slice(0, { gone: 1, none: 2, most: 5 }[fault] ?? 0)
  for (const one of gone) await one.stop()
  const proxy = await start(ports)
  upstreams[0].behave = faults[fault] ?? faults.good
  for (const { requests } of upstreams) requests.length = 0
  const seen = {}
  for (let i = 0; i < COUNT; i++) {
    const answer = await ask(proxy.port, bytes)
    seen[answer] = (seen[answer] ?? 0) + 1
  }
  const requests = upstreams.flatMap(({ requests }) => requests)
  const executed = fault !== 'good' && bytes.startsWith('POST') && requests.length > COUNT ? `; **${requests.length} executions**` : ''
  const reached = fault === 'good' ? `; ${requests.length} reached an upstream${requests.some((request) => /\r\nupgrade: h2c/i.test(request)) ? ', with the upgrade' : ''}` : ''
  await stop(proxy)
  for (const one of upstreams) if (!gone.includes(one)) await one.stop()
  return Object.entries(seen).sort(([, a], [, b]) => b - a).map(([answer, count]) => `${count} × ${answer}`).join(', ') + executed + reached
}

console.log('| fault | Headgate | nginx | HAProxy |\n|---|---|---|---|')
try {
  for (const [name, fault, bytes] of cases) {
    const cells = []
    for (const start of [headgate, nginx, haproxy]) {
      try {
        cells.push(await measure(start, fault, bytes))
      } catch (error) {
        if (!(error instanceof Skip)) throw error
        cells.push('not installed')
      }
    }
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
} finally {
  rmSync(work, { recursive: true })
}
