// nginx and HAProxy, as proxies to compare with and (nginx) as the fastest backend there is.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LOAD_CORE, PROXY_CORE, find, freePorts, startNode, startProgram } from './system.mjs'

export const SIZES = { '10k': 10 * 1024, '100k': 100 * 1024, '1m': 1024 * 1024, '10m': 10 * 1024 * 1024 }
const SMALL = JSON.stringify({ message: 'x'.repeat(106) })

function nginxFrame (folder, http) {
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  return `daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log stderr crit; worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http { access_log off; ${temp} sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
${http}
}
`
}

/**
 * Backends on `count` ports, all in one process: nginx where it is, else Node. Paths: /small, /10k … /10m, /item/N, POST /post.
 * `reads`: they answer a POST when they have read its body. nginx answers at once and reads it away afterwards, so that a proxy would
 * look the better the less of the body it passes on.
 */
export async function startBackends (work, count, reads = false) {
  const folder = join(work, 'backend')
  mkdirSync(folder, { recursive: true })
  if (reads || find('nginx') === undefined) {
    const more = await freePorts(count - 1)
    const { process, pid, port } = await startNode(LOAD_CORE, fileURLToPath(new URL('../targets/backend.mjs', import.meta.url)), { sizes: SIZES, small: SMALL, ports: more })
    return { process, pid, ports: [port, ...more] }
  }
  const root = join(folder, 'files')
  mkdirSync(root, { recursive: true })
  writeFileSync(join(root, 'small'), SMALL)
  for (const [name, size] of Object.entries(SIZES)) writeFileSync(join(root, name), Buffer.alloc(size, 'abcdefghijklmnop'))
  const ports = await freePorts(count)
  const servers = ports.map((port) => `server { listen 127.0.0.1:${port}; root ${root}; default_type application/json; open_file_cache max=100; etag on;
location /item/ { return 200 '${SMALL}'; } }`).join('\n')
  const conf = join(folder, 'nginx.conf')
  writeFileSync(conf, nginxFrame(folder, servers))
  return { ...await startProgram(LOAD_CORE, 'nginx', ['-c', conf, '-e', 'stderr'], ports[0]), ports }
}

let instances = 0

/** nginx as a proxy. `server` and `location` are further directives; `tls`: { key, cert } files. */
export async function startNginx (work, ports, { server = '', location = '', http = '', method = '', tls, http2 = false } = {}) {
  const folder = join(work, `nginx-${++instances}`)
  mkdirSync(folder, { recursive: true })
  const [port] = await freePorts(1)
  const secure = tls === undefined ? '' : `ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key}; ssl_protocols TLSv1.3; ssl_session_tickets on;`
  const conf = join(folder, 'nginx.conf')
  writeFileSync(conf, nginxFrame(folder, `${http.replaceAll('FOLDER', folder)}
upstream backends { ${method} ${ports.map((each) => `server 127.0.0.1:${each} max_fails=3;`).join(' ')} keepalive 256; keepalive_requests 1000000000; keepalive_timeout 600s; }
server { listen 127.0.0.1:${port}${tls === undefined ? '' : ` ssl${http2 ? ' http2' : ''}`}; ${secure} ${server}
location / { proxy_pass http://backends; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; ${location} } }`))
  return startProgram(PROXY_CORE, 'nginx', ['-c', conf, '-e', 'stderr'], port)
}

/** HAProxy with one thread. `tls`: a file that holds key and certificate. */
export async function startHaproxy (work, ports, { balance = 'roundrobin', tls, http2 = false } = {}) {
  const folder = join(work, `haproxy-${++instances}`)
  mkdirSync(folder, { recursive: true })
  const [port] = await freePorts(1)
  const conf = join(folder, 'haproxy.cfg')
  writeFileSync(conf, `global
  maxconn 9000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  option forwardfor
  http-reuse always
frontend in
  bind 127.0.0.1:${port}${tls === undefined ? '' : ` ssl crt ${tls} ssl-min-ver TLSv1.3${http2 ? ' alpn h2' : ''}`}
  default_backend out
backend out
  balance ${balance}
${ports.map((each, i) => `  server s${i} 127.0.0.1:${each} pool-max-conn 256`).join('\n')}
`)
  return startProgram(PROXY_CORE, 'haproxy', ['-db', '-f', conf], port)
}
