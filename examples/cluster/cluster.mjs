// Three proxies, the Redis and the DNS server that they share, and upstreams that come and go.
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { find } from '../../tools/system.mjs'
import { accepts, freePort, Processes, until } from './processes.mjs'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const headgate = join(dirname(createRequire(import.meta.url).resolve('headgate/package.json')), 'dist', 'cli.js')

export class Cluster {
  /** Addresses of the proxies. */
  urls = []
  #processes = new Processes()
  #folder = mkdtempSync(join(tmpdir(), 'headgate-cluster-'))
  /** Upstreams by their addresses. */
  #upstreams = new Map()
  #port = 0
  #dns

  async start () {
    const [dnsPort, redisPort] = [await freePort(), await freePort()]
    this.#port = await freePort()
    await this.#processes.start(find('redis-server') ?? 'redis-server', ['--port', redisPort, '--bind', '127.0.0.1', '--save', '', '--dir', this.#folder])
    await accepts(redisPort)
    await this.#add()
    await this.#add()
    this.#publish()
    this.#dns = (await this.#processes.start(find('dnsmasq') ?? 'dnsmasq', [
      '--keep-in-foreground', '--pid-file=', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--local=/cluster.test/', '--local-ttl=1', '--user=', '--group=',
      `--addn-hosts=${this.#hosts}`, `--port=${dnsPort}`, '--listen-address=127.0.0.1', '--bind-interfaces', `--log-facility=${join(this.#folder, 'dnsmasq.log')}`
    ])).child
    await accepts(dnsPort)
    const env = { UPSTREAM_PORT: String(this.#port), DNS_PORT: String(dnsPort), REDIS_PORT: String(redisPort) }
    const proxies = await Promise.all([0, 1, 2].map(() => this.#processes.start(process.execPath, [headgate, 'serve', '-c', here('headgate.config.yaml')], { ready: '"listening"', env })))
    this.urls = proxies.map(({ line }) => JSON.parse(line).address)
    await this.#shown()
  }

  get size () { return this.#upstreams.size }
  /** Addresses of the upstreams. */
  get upstreams () { return [...this.#upstreams.keys()] }

  /** So many upstreams; resolves when the dashboards of all proxies show them, and those that go have gone. */
  async scale (count) {
    while (this.#upstreams.size < count) await this.#add()
    const going = [...this.#upstreams].slice(count)
    for (const [address] of going) this.#upstreams.delete(address)
    this.#publish()
    this.#dns.kill('SIGHUP')
    await this.#shown()
    // Nobody sends to them any more; what they do they finish.
    await Promise.all(going.map(([, child]) => this.#processes.end(child)))
  }

  /** One dies on the spot, another comes in its place: only then the DNS tells. */
  async crash () {
    const [address, child] = [...this.#upstreams].at(-1)
    await this.#processes.end(child, 'SIGKILL')
    this.#upstreams.delete(address)
    await this.scale(this.#upstreams.size + 1)
  }

  /** What a proxy's dashboard shows of the pool. */
  async pool (url) {
    return await (await fetch(`${url}/headgate/api/pools/web`)).json()
  }

  async stop () {
    await this.#processes.endAll()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  get #hosts () { return join(this.#folder, 'hosts') }

  async #add () {
    let number = 1
    while (this.#upstreams.has(`127.0.1.${number}`)) number++
    const address = `127.0.1.${number}`
    const { child } = await this.#processes.start(process.execPath, [here('upstream.mjs'), address, String(this.#port)], { ready: 'listening' })
    this.#upstreams.set(address, child)
  }

  #publish () {
    writeFileSync(this.#hosts, [...this.#upstreams.keys()].map((address) => `${address} web.cluster.test\n`).join(''))
  }

  async #shown () {
    for (const url of this.urls) {
      await until(async () => {
        const { upstreams, ready } = await this.pool(url)
        return upstreams === this.size && ready === this.size
      })
    }
  }
}
