// The servers behind the example: pages, files and a gRPC service in this process, logins in one process each.
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'

const FILES = new Map([
  ['/assets/site.css', ['text/css', 'body { font-family: system-ui }\n']],
  ['/assets/logo.svg', ['image/svg+xml', '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4" cy="4" r="4"/></svg>\n']]
])

async function listen (handler) {
  const server = createServer(handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, url: `http://127.0.0.1:${server.address().port}` }
}

const pages = (version) => (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/html', 'cache-control': 'no-store' })
  response.end(`<!doctype html><title>Shop</title><link rel="stylesheet" href="/assets/site.css"><p>${version}</p><a href="/account/">Account</a>\n`)
}

function files (request, response) {
  const [type, text] = FILES.get(request.url) ?? []
  if (text === undefined) return response.writeHead(404).end('There is no such file.\n')
  const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 16)}"`
  response.writeHead(200, { 'content-type': type, etag, 'cache-control': 'public, max-age=3600' })
  response.end(text)
}

/** Messages as JSON, so that the example needs no compiler for them. */
const json = { serialize: (value) => Buffer.from(JSON.stringify(value)), deserialize: (bytes) => JSON.parse(bytes.toString()) }
const method = (path, responseStream) => ({
  path, requestStream: false, responseStream,
  requestSerialize: json.serialize, requestDeserialize: json.deserialize, responseSerialize: json.serialize, responseDeserialize: json.deserialize
})
/** A service with one answer, and one with several. */
export const greeterService = {
  sayHello: method('/helloworld.Greeter/SayHello', false),
  countDown: method('/helloworld.Greeter/CountDown', true)
}

async function greeter (name) {
  const server = new grpc.Server()
  server.addService(greeterService, {
    sayHello: ({ request }, callback) => {
      if (typeof request.name !== 'string') return callback({ code: grpc.status.INVALID_ARGUMENT, details: 'name is missing' })
      callback(null, { message: `Hello ${request.name}`, from: name })
    },
    countDown: (call) => {
      for (let left = call.request.from; left > 0; left--) call.write({ left })
      call.end()
    }
  })
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => error === null ? resolve(port) : reject(error))
  })
  return { server, url: `http://127.0.0.1:${port}` }
}

async function accounts (name) {
  const child = fork(fileURLToPath(new URL('../login-sessions-app.mjs', import.meta.url)), [name, '/account'], { execArgv: [] })
  const [{ port }] = await once(child, 'message')
  return { child, url: `http://127.0.0.1:${port}` }
}

/** Starts them all; `environment` is what the configuration asks for. */
export async function startServers () {
  const [web, canary, assets, greeter1, greeter2, accounts1, accounts2] = await Promise.all([
    listen(pages('this version')), listen(pages('next version')), listen(files), greeter('greeter 1'), greeter('greeter 2'), accounts('accounts 1'), accounts('accounts 2')
  ])
  return {
    environment: {
      WEB: web.url, CANARY: canary.url, ASSETS: assets.url,
      GREETER_1: greeter1.url, GREETER_2: greeter2.url, ACCOUNTS_1: accounts1.url, ACCOUNTS_2: accounts2.url
    },
    close () {
      for (const { server } of [web, canary, assets]) {
        server.closeAllConnections()
        server.close()
      }
      for (const { server } of [greeter1, greeter2]) server.forceShutdown()
      for (const { child } of [accounts1, accounts2]) child.disconnect()
    }
  }
}
