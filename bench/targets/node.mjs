// One server by configuration: { kind, ports, … }, a Fastify app of app.mjs or something to compare it with. Prints its port.
import { createRequire } from 'node:module'
import { secretsOf, startApp } from './app.mjs'

const config = JSON.parse(process.argv[2])
const { kind, ports = [] } = config

// A profile is written only by a process that ends by itself.
process.once('SIGTERM', () => { process.exit() })

if (kind === 'http-proxy') {
  // Not a Fastify plugin: the well-known stand-alone one, with kept connections as the others have them.
  const { Agent, createServer } = await import('node:http')
  const proxy = createRequire(import.meta.url)('http-proxy').createProxyServer({ target: `http://127.0.0.1:${ports[0]}`, agent: new Agent({ keepAlive: true, maxSockets: 256 }), xfwd: true })
  const server = createServer((request, response) => { proxy.web(request, response, undefined, () => { response.destroy() }) })
  server.on('upgrade', (request, socket, head) => { proxy.ws(request, socket, head) })
  server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
} else if (kind === 'node-http') {
  // The floor of a hit in Node: its HTTP server sends a Buffer, or 304, without a router or any check.
  const { createServer } = await import('node:http')
  const answers = new Map(Object.entries(config.bodies).map(([path, { size }]) => [path, Buffer.alloc(size, 'abcdefghijklmnop')]))
  const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
    if (request.headers['if-none-match'] === '"x"') {
      response.writeHead(304, ['Cache-Control', 'public, max-age=3600', 'ETag', '"x"'])
      response.end()
      return
    }
    const data = answers.get(request.url)
    response.writeHead(200, ['Cache-Control', 'public, max-age=3600', 'ETag', '"x"', 'Content-Type', 'application/json', 'Content-Length', String(data.length)])
    response.end(data)
  })
  server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
} else if (kind === 'bare') {
  const { startBare } = await import('./bare.mjs')
  console.log((await startBare(ports[0], secretsOf(config.tls), config.http2)).address().port)
} else if (kind === 'tcp') {
  // The floor of proxying in Node: bytes from socket to socket.
  const { connect, createServer } = await import('node:net')
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: ports[0], host: '127.0.0.1', noDelay: true })
    client.pipe(upstream).pipe(client)
    client.on('error', () => { upstream.destroy() })
    upstream.on('error', () => { client.destroy() })
  })
  server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
} else if (kind === 'several') {
  await (await import('./several.mjs')).startSeveral(config)
} else {
  console.log((await startApp(config)).server.address().port)
}
