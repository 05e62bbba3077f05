--- The script API: TLS, upstreams' servers, static files, WebSockets, metrics.  See tools/api.lua.
local labels = "labels?: table<string, string|number|boolean>"

return {
  -- ---- TLS of listeners ----
  { class = "moonlatch.Tls", options = true, schema = "tls.schema", doc = "TLS of a listener; files are in the site.",
    members = {
      { "cert: string?", "The certificate and its chain." }, { "key: string?", "Its private key." },
      { "ocsp: string?", "An OCSP response to staple." },
      { "certificates: moonlatch.TlsCertificate[]?", "Several of these, chosen by the name that clients ask for." },
      { 'min_version: "1.2"|"1.3"|nil', "The least version." },
      { 'max_version: "1.2"|"1.3"|nil', "The largest version." },
      { "ciphers: string[]?", "Cipher suites, by OpenSSL's names." }, { "curves: string[]?", "Groups for the key exchange." },
      { "session_tickets: boolean = true", "Clients may resume." },
      { "session_timeout: seconds = 3600", "For how long." },
      { "handshake_timeout: seconds = 10", "How long a handshake may take." },
      { 'client_auth: "none"|"optional"|"required" = "none"', "Are clients asked for a certificate?" },
      { "client_ca: string?", "Authorities of clients' certificates." },
      { "client_crl: string?", "Their lists of revoked certificates." },
    } },
  { class = "moonlatch.TlsCertificate", options = true, schema = "tls.certificate", doc = "One of several certificates.",
    members = {
      { "cert: string", "The certificate and its chain." }, { "key: string", "Its private key." },
      { "ocsp: string?", "An OCSP response to staple." },
      { "names: string[]?", "Names it counts for, instead of those in it." },
    } },
  { class = "moonlatch.TlsRedirect", options = true, schema = "tls.redirect",
    doc = "A listener that sends clients to the one with TLS.", members = {
      { 'to: "https" = "https"', "Where to." }, { "status: integer = 308", "301, 302, 307 or 308." },
      { "host: string?", "Where to, whatever the client asked for." },
      { "port: integer = 443", "Of the listener with TLS." }, { "except: string[]?", "Paths that are answered." },
    } },
  { class = "moonlatch.ProxyProtocol", options = true, schema = "config.proxy_protocol",
    doc = "Whose PROXY headers are believed.", members = {
      { "from: string[]", "Networks." }, { "required: boolean = false", "Refuses connections from there without one." },
    } },
  { class = "moonlatch.TlsInfo", data = true, doc = "What `req.tls` says.", members = {
    { "version: string", "As `TLSv1.3`." }, { "cipher: string", "The cipher suite." },
    { "sni: string?", "The name that the client asked for." }, { "alpn: string?", "`h2` or `http/1.1`." },
    { "resumed: boolean", "Was a session resumed?" },
    { "client: { subject: string, issuer: string, serial: string, fingerprint: string, san: string[], verified: boolean }?",
      "The client's certificate." },
  } },

  -- ---- servers of upstreams ----
  { class = "moonlatch.UpstreamHandle", name = "up", probe = 'gw.upstream("probe", { "http://127.0.0.1:1" })',
    doc = "What `gw.upstream` gives, and `gw.upstreams.NAME` at any time.", members = {
      { "name: string", "Its name." },
      { ":set_servers(list?: (string|moonlatch.Server)[]): boolean?, string?",
        "Other servers from now on, in all workers; nil: those of the site again." },
      { ":servers(): moonlatch.ServerState[]", "The servers and what is known of them." },
      { ":drain(url: string): boolean?, string?", "No new requests for a server." },
      { ":undrain(url: string): boolean?, string?", "Uses it again." },
    } },
  { class = "moonlatch.Server", options = true, schema = "upstream.server", doc = "A server of an upstream.", members = {
    { "url: string", "`http://host:port[/prefix]`, `https://...` or `unix:/path`." },
    { "weight: integer = 1", "Its part of the requests." },
    { "max_conns: integer?", "Requests at a time, of all workers; 0 is no limit." },
    { "backup: boolean?", "Used when no other server is left." },
  } },
  { class = "moonlatch.ServerState", data = true, doc = "What is known of a server.", members = {
    { "url: string", "Its URL." }, { "state: string", "A word such as `up`, `down`, `draining`." },
    { "weight: number", "Its weight." }, { "backup: boolean", "Is it a backup?" },
    { "in_flight: integer", "Requests it has now." }, { "requests: integer", "Requests it had." },
    { "errors: integer", "How many of them failed." }, { "last_error: string?", "What failed last." },
    { "last_error_at: number?", "When, seconds since 1970." },
  } },
  { class = "moonlatch.Health", options = true, schema = "upstream.health", doc = "Active checks of servers.", members = {
    { "path: string?", "Asked for by HTTP; without it a connection is enough." },
    { "host: string?", "The Host field of checks." }, { 'method: string = "GET"', "The method." },
    { 'expect: integer|string|(integer|string)[] = "200-399"', "Statuses that are good." },
    { "body: string?", "Text that the answer must have." }, { "port: integer?", "Another port than the server's." },
    { "interval: seconds = 5", "Between two checks." }, { "timeout: seconds = 2", "Of a check." },
    { "jitter: number = 0.1", "Random part of the interval." },
    { "rise: integer?", "Good checks in a row that bring a server back." },
    { "fall: integer?", "Bad checks in a row that take it out." },
    { 'initially: "up"|"down" = "up"', "What counts before the first check." },
    { "slow_start: seconds?", "Time to its full weight after it came back." },
  } },

  -- ---- static files ----
  { class = "moonlatch.Static", options = true, schema = "static.config", doc = "Options of `gw.static`.", members = {
    { "root: string", "The directory with the files; a relative one is below the site." },
    { "index: string[]?", "Files that answer for a directory; `index.html` unless given." },
    { "try: string[]?", "What is looked for, in this order." },
    { "fallback: string?", "The file for every path that leads nowhere." },
    { "assets: string[]?", "Patterns of paths that get 404 and not the fallback." },
    { "not_found: string?", "The file that is sent with the status 404." },
    { "cache: string|table<string, string|number>|nil", "Cache-Control, for all files or by pattern." },
    { "precompressed: boolean = false", "Sends file.br or file.gz to clients that take it." },
    { 'symlinks: "no"|"inside"|"yes" = "inside"', "Which symbolic links are followed." },
    { "dotfiles: boolean = false", "Serves names that begin with a dot." },
    { "types: table<string, string>?", "Media types by ending." },
    { 'charset: string = "utf-8"', "The charset of text files." },
    { "recheck: seconds = 1", "How long the way to a file is remembered." },
  } },

  -- ---- WebSockets ----
  { class = "moonlatch.WebSocket", name = "ws", probe = 'registered "send_binary"', computed = true,
    doc = "What the function of `gw.websocket` gets.", members = {
      { "open: boolean", "Can it still be sent to?" }, { "protocol: string?", "The subprotocol that was agreed on." },
      { "compressed: boolean", "Are messages compressed?" },
      { ":receive(seconds?: seconds): string?, string|integer, string?",
        "The next message and its kind; nil, and the code and reason of the end.", waits = true, errors = { "timeout" } },
      { ":messages(): fun(): (string?, string?)", "Iterates over messages and their kinds.", waits = true },
      { ":send(text: string): boolean?, string?", "Sends text.", waits = true, errors = { "closed" } },
      { ":send_binary(bytes: string): boolean?, string?", "Sends bytes.", waits = true, errors = { "closed" } },
      { ":ping(data?: string): boolean?, string?", "Sends a ping.", waits = true, errors = { "closed" } },
      { ":close(code?: integer = 1000, reason?: string)", "Closes it." },
    } },
  { class = "moonlatch.WebSocketOptions", options = true, schema = "websocket.config", doc = "Options of `gw.websocket`.",
    members = {
      { "protocols: string[]?", "Subprotocols, of which the client's first one counts." },
      { 'origins: string[]|"*"|nil', "Whose pages may connect; the own host's unless given." },
      { "max_message: bytes = 1048576", "A longer message ends it." },
      { "idle_timeout: seconds = 120", "So long a silence ends it; 0 is never." },
      { "ping_interval: seconds = 30", "After so long a silence the client is sent a ping." },
      { "compress: boolean|moonlatch.WebSocketCompress = false", "permessage-deflate." },
    } },
  { class = "moonlatch.WebSocketCompress", options = true, schema = "websocket.compress", doc = "How messages are packed.",
    members = {
      { "level: integer = 1", "1 (fast) to 9." }, { "window_bits: integer = 15", "9 to 15." },
      { "context_takeover: boolean = true", "False packs each message by itself." },
      { "min_length: bytes = 128", "Shorter messages are sent as they are." },
    } },

  -- ---- metrics ----
  { class = "moonlatch.Metrics", name = "gw.metrics", probe = "gw.metrics", doc = "Metrics of the site.", members = {
    { "counter(options: moonlatch.CounterOptions): moonlatch.Counter", "A number that only grows.", load = true },
    { "gauge(options: moonlatch.GaugeOptions): moonlatch.Gauge", "A number that goes up and down.", load = true },
    { "histogram(options: moonlatch.HistogramOptions): moonlatch.Histogram", "Counts values in buckets.", load = true },
    { "text(accept?: string): string, string", "The page for scrapers, and its media type." },
  } },
  { class = "moonlatch.Counter", name = "counter", doc = "What `gw.metrics.counter` gives.",
    probe = 'gw.metrics.counter { name = "probe_total", help = "x" }',
    members = { { (":inc(%s, by?: number = 1)"):format(labels), "Adds to it." } } },
  { class = "moonlatch.Gauge", name = "gauge", probe = 'gw.metrics.gauge { name = "probe_gauge", help = "x" }',
    doc = "What `gw.metrics.gauge` gives.", members = {
      { (":set(%s, value?: number)"):format(labels), "Sets it." },
      { (":inc(%s, by?: number = 1)"):format(labels), "Adds to it." },
      { (":dec(%s, by?: number = 1)"):format(labels), "Takes from it." },
      { (":unset(%s)"):format(labels), "Takes this worker's value away." },
    } },
  { class = "moonlatch.Histogram", name = "histogram", doc = "What `gw.metrics.histogram` gives.",
    probe = 'gw.metrics.histogram { name = "probe_seconds", help = "x" }',
    members = { { (":observe(%s, value?: number)"):format(labels), "Counts a value." } } },
  { class = "moonlatch.CounterOptions", options = true, schema = "metrics.config.counter",
    doc = "Options of `gw.metrics.counter`.", members = {
      { "name: string", "Its name; ends with `_total`." }, { "help: string", "A sentence for the reader." },
      { "labels: string[]?", "Names of its labels." }, { "max_series: integer = 1000", "Combinations of labels' values." },
    } },
  { class = "moonlatch.GaugeOptions", options = true, schema = "metrics.config.gauge",
    doc = "Options of `gw.metrics.gauge`.", members = {
      { "name: string", "Its name." }, { "help: string", "A sentence for the reader." },
      { "labels: string[]?", "Names of its labels." }, { "max_series: integer = 1000", "Combinations of labels' values." },
      { 'merge: "sum"|"max"|"min"|"last" = "sum"', "How the values of workers become one." },
    } },
  { class = "moonlatch.HistogramOptions", options = true, schema = "metrics.config.histogram",
    doc = "Options of `gw.metrics.histogram`.", members = {
      { "name: string", "Its name." }, { "help: string", "A sentence for the reader." },
      { "labels: string[]?", "Names of its labels." }, { "max_series: integer = 1000", "Combinations of labels' values." },
      { "buckets: number[]?", "Upper bounds, ascending; from 5 ms to 10 s unless given." },
    } },
}
