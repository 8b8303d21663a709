// `node examples/site/start.mjs` runs the whole example: certificates, the servers behind it, and the proxy by its command alone.
// LISTEN and REDIRECT say where (127.0.0.1:8443 and 127.0.0.1:8080). Ctrl-C ends it.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeCertificates } from './certificates.mjs'
import { startServers } from './servers.mjs'

const config = fileURLToPath(new URL('headgate.config.yaml', import.meta.url))
const headgate = join(dirname(createRequire(import.meta.url).resolve('headgate/package.json')), 'dist', 'cli.js')
const folder = mkdtempSync(join(tmpdir(), 'headgate-site-'))
const servers = await startServers()
makeCertificates(folder, ['shop', 'api'])
console.error(`curl --cacert ${folder}/ca.pem --connect-to ::127.0.0.1:8443 https://shop.example/`)

const proxy = spawn(process.execPath, [headgate, 'serve', '-c', config], {
  stdio: 'inherit',
  env: { HEADGATE_STICKY_KEYS: randomBytes(32).toString('base64url'), ...process.env, CERTIFICATES: folder, ...servers.environment }
})
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => proxy.kill(signal))
proxy.on('close', (status) => {
  servers.close()
  rmSync(folder, { recursive: true })
  process.exitCode = status ?? 1
})
