# The edge: caches the gateway's answers and drops them by tag (the header xkey). The rules are those of the private
# stack's edge, stack/varnish.vcl.in; the addresses are not.
vcl 4.1;

import xkey;

# The gateway runs on the host, outside the containers.
backend gateway {
    .host = "host.docker.internal";
    .port = "8080";
    .connect_timeout = 1s;
    .first_byte_timeout = 5s;
    .between_bytes_timeout = 5s;
}

# The port is published on the host's 127.0.0.1 only; from inside, a caller on the host has the address of a bridge.
acl purgers {
    "127.0.0.0"/8;
    "::1";
    "10.0.0.0"/8;
    "172.16.0.0"/12;
    "192.168.0.0"/16;
    "fc00::"/7;
}

sub vcl_recv {
    if (req.method == "PURGE") {
        if (!(client.ip ~ purgers)) {
            return (synth(403, "Not from here"));
        }
        if (!req.http.xkey-purge) {
            return (synth(400, "xkey-purge is missing"));
        }
        # Hard purges only: a soft one serves the old body once more.
        set req.http.x-purged = xkey.purge(req.http.xkey-purge);
        return (synth(200, "Purged " + req.http.x-purged));
    }
    if (req.method == "GET" && req.url ~ "^/v1/") {
        unset req.http.Cookie;
    }
}

sub vcl_miss {
    # Who asks so wants to know what is kept, and have nothing fetched (RFC 9111, 5.2.1.7).
    if (req.http.Cache-Control ~ "(?i)only-if-cached") {
        return (synth(504, "Not cached"));
    }
}

sub vcl_pass {
    if (req.http.Cache-Control ~ "(?i)only-if-cached") {
        return (synth(504, "Not cached"));
    }
}

sub vcl_backend_response {
    # Nothing is served after its time, not even while it is fetched anew.
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    # Only what names its time at the edge is kept. For a second after an answer that may not be kept, readers are not
    # queued behind one another. That mark holds no answer, and the first one that may be kept replaces it.
    if (beresp.http.Cache-Control ~ "(?i)(no-store|private)"
        || beresp.http.Cache-Control !~ "(?i)s-maxage="
        || beresp.http.Set-Cookie || beresp.http.Vary == "*" || beresp.status >= 500) {
        set beresp.ttl = 1s;
        set beresp.uncacheable = true;
        unset beresp.http.xkey;
    }
    return (deliver);
}

sub vcl_deliver {
    unset resp.http.xkey;
    if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
}

sub vcl_synth {
    set resp.http.Content-Type = "text/plain";
    set resp.http.Cache-Control = "no-store";
    set resp.body = resp.reason + {"
"};
    return (deliver);
}
