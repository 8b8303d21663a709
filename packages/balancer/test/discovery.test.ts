import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { DiscoveryMessage } from '@headgate/core'
import { find, skipWithout } from '../../../tools/system.mjs'
import { proxy, until } from './helpers.ts'

type Test = { teardown (action: () => unknown): void }

/** Upstreams at several loopback addresses with one port. */
async function farm (t: Test, addresses: readonly string[]): Promise<{ port: number; served: Map<string, number> }> {
  const served = new Map<string, number>()
  let port = 0
  for (const address of addresses) {
    const server: Server = createServer((request, response) => {
      served.set(address, (served.get(address) ?? 0) + 1)
      setTimeout(() => response.end(`${address} ${request.headers.host}`), 2)
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, address, resolve)
    })
    port = (server.address() as AddressInfo).port
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
  }
  return { port, served }
}

async function freePort (): Promise<number> {
  const server = createTcpServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => { server.close(resolve) })
  return port
}

t.test('dnsmasq whose records change under load: members come and go, and no request fails', { skip: skipWithout('dnsmasq') }, async (t) => {
  const { port, served } = await farm(t, ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4'])
  const home = mkdtempSync(join(tmpdir(), 'hg-dns-'))
  t.teardown(() => { rmSync(home, { recursive: true, force: true }) })
  const hosts = join(home, 'hosts')
  const dns = await freePort()
  const write = (...addresses: string[]): void => { writeFileSync(hosts, addresses.map((address) => `${address} web.test\n`).join('')) }
  write('127.0.0.1', '127.0.0.2')
  const start = () => spawn((find as (name: string) => string)('dnsmasq'), [
    '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--local=/test/', `--addn-hosts=${hosts}`, `--port=${dns}`, '--listen-address=127.0.0.1',
    '--bind-interfaces', '--local-ttl=0', '--no-daemon', '--pid-file=',
    ...process.getuid?.() === 0 ? ['--user=root'] : []
  ], { stdio: 'ignore' })
  let server = start()
  t.teardown(async () => {
    const exit = once(server, 'exit')
    if (server.exitCode === null && server.kill('SIGKILL')) await exit
  })
  const lines: string[] = []
  const { app, url } = await proxy(t, {
    pools: { web: { discovery: { type: 'dns', name: 'web.test', port, servers: [`127.0.0.1:${dns}`], minTtl: 20, timeout: 150 }, connection: { keepAliveTimeout: 2000 } } },
    routes: [{ prefix: '/', pool: 'web' }]
  }, undefined, { logger: { level: 'info', stream: { write: (line: string) => { lines.push(line) } } } })
  const pool = app.balancer.pool('web')
  const messages: DiscoveryMessage[] = []
  pool.on('discovery', (message) => { messages.push(message) })
  // The server may have been slower than the proxy.
  await until(() => pool.ready.length === 2)
  let running = true
  let requests = 0
  const failures: string[] = []
  const load = Promise.all(Array.from({ length: 8 }, async () => {
    while (running) {
      const response = await fetch(`${url}/`)
      const text = await response.text()
      requests++
      if (response.status !== 200 || !text.endsWith(`web.test:${port}`)) failures.push(`${response.status} ${text}`)
    }
  }))
  const change = async (...addresses: string[]): Promise<void> => {
    write(...addresses)
    server.kill('SIGHUP')
    await until(() => pool.upstreams.length === addresses.length && addresses.every((address) => pool.at(`http://${address}:${port}`) !== undefined))
    const before = new Map(served)
    await until(() => addresses.every((address) => (served.get(address) ?? 0) > (before.get(address) ?? 0)))
  }
  await change('127.0.0.2', '127.0.0.3')
  await change('127.0.0.4')
  await change('127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4')
  // Gone for a while: nobody is taken out.
  messages.length = 0
  const ended = once(server, 'exit')
  server.kill('SIGKILL')
  await ended
  await until(() => messages.some(({ result }) => result === 'failed'))
  t.equal(pool.ready.length, 4)
  write()
  server = start()
  await until(() => messages.at(-1)?.result === 'kept')
  t.equal(pool.ready.length, 4, 'an empty answer neither')
  await change('127.0.0.3')
  running = false
  await load
  t.same(failures, [], `of ${requests} requests`)
  t.ok(lines.some((line) => line.includes('the discovery changed the members')))
  t.ok(lines.some((line) => line.includes('the discovery failed: the members stay')))
})

t.test('a pool may be empty while its discovery finds nobody: 503, and served as soon as somebody is there', async (t) => {
  const { port } = await farm(t, ['127.0.0.1'])
  let tell!: (members: string[]) => void
  const { url } = await proxy(t, {
    pools: { web: { discovery: { name: 'own', start (site) {
      tell = (members) => { site.update(members) }
      site.update([])
    } } } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  t.equal((await fetch(url)).status, 503)
  tell([`http://127.0.0.1:${port}`])
  let response = await fetch(url)
  while (response.status === 503) response = await fetch(url)
  t.equal(await response.text(), `127.0.0.1 127.0.0.1:${port}`)
})
