// nginx `stream` and HAProxy `mode tcp`, each in one process with one thread, to compare layer 4 with. `ports` are those to listen on,
// `backends` the ports behind, in the same order; of nginx the third is UDP.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROXY_CORE, Skip, startProgram } from './system.mjs'

const MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

export async function startNginxStream (work, ports, backends) {
  if (!existsSync(MODULE)) throw new Skip('nginx has no stream module (Debian package libnginx-mod-stream)')
  const folder = join(work, 'nginx-stream')
  mkdirSync(folder, { recursive: true })
  const conf = join(folder, 'nginx.conf')
  writeFileSync(conf, `load_module ${MODULE};
daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log stderr crit;
events { worker_connections 4096; }
stream {
${ports.map((port, i) => `server { listen 127.0.0.1:${port}${i === 2 ? ' udp' : ''}; proxy_pass 127.0.0.1:${backends[i]}; }`).join('\n')}
}
`)
  return { ...await startProgram(PROXY_CORE, 'nginx', ['-c', conf, '-e', 'stderr'], ports[0]), ports }
}

export async function startHaproxyTcp (work, ports, backends) {
  const conf = join(work, 'haproxy-tcp.cfg')
  writeFileSync(conf, `global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${ports.slice(0, 2).map((port, i) => `listen l${i}\n  bind 127.0.0.1:${port}\n  server s 127.0.0.1:${backends[i]}\n`).join('')}`)
  return { ...await startProgram(PROXY_CORE, 'haproxy', ['-q', '-db', '-f', conf], ports[0]), ports: ports.slice(0, 2) }
}
