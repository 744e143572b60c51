//! Every finding's code. A code is for good: scripts match on it, so that a meaning never moves to another
//! number and a retired number is not used again. `docs/validation-codes.md` shows this table; a test
//! compares the two.

use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object, or a part of it, does not work.
    Error,
    /// It works, but probably not as meant.
    Warning,
    /// Worth knowing.
    Notice,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        })
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal $severity:ident, $meaning:literal, $remedy:literal;)*) => {
        /// What kind of finding it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Code {
            /// All codes, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How much it matters.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What it means, as a clause.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// What to do about it, when nothing more exact is known.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)*
                }
            }
        }
    };
}

codes! {
    // 10xx: the text.
    Syntax = 1001 Error, "not valid YAML", "check quotes, colons and indentation there and on the line before";
    DuplicateKey = 1002 Error, "a key appears twice in one mapping", "remove one";
    TextTooLong = 1003 Error, "the text is longer than is read", "split it into several files";
    TooManyDocuments = 1004 Error, "more documents than are read from one text", "split it into several files";
    TooManyFaults = 1005 Error, "more faults than are listed", "mend the listed ones first";
    TooDeep = 1006 Error, "nested too deep", "flatten it";
    ExpandsTooFar = 1007 Error, "anchors and aliases stand for too much", "write the values out or use fewer";
    AliasOfItself = 1008 Error, "an alias inside the value it refers to", "write the value out";
    KeyNotScalar = 1009 Error, "a key that is not a word or number", "quote it if it looks otherwise";
    MergeKey = 1010 Error, "a merge key (`<<`)", "write the fields out";
    Tag = 1011 Error, "a tag that is not supported", "write a plain value";
    TagMismatch = 1012 Error, "a value that contradicts its tag", "mend the value or remove the tag";
    NoSuchNumber = 1013 Error, "a number that cannot be held", "quote it if it is a string";
    NotAnObject = 1014 Error, "a document that is not an object", "start it with `apiVersion:` and `kind:`";
    Undecodable = 1015 Error, "a value that does not fit its kind's type", "correct the field's value";
    Unreadable = 1016 Error, "a file or directory that cannot be read", "correct its name or its permissions";
    NotText = 1017 Error, "a file that is not UTF-8 text", "save it as UTF-8";
    NothingToRead = 1018 Warning, "a directory without manifests, or a text without objects", "name what holds the objects";

    // 11xx: what the object is.
    NoKind = 1101 Error, "`apiVersion` or `kind` is missing", "state both";
    KindSkipped = 1102 Notice, "a kind that ringway does not read; the object is skipped", "nothing to do, if it is meant for others";
    VersionNotServed = 1103 Error, "a version of the kind that is not served", "use a served version";
    NoName = 1104 Error, "`metadata.name` is missing", "name the object";
    BadName = 1105 Error, "`metadata.name` is not a valid name", "use lower-case letters, digits, `-` and, except for Service and Namespace, `.`";
    BadNamespace = 1106 Error, "`metadata.namespace` is not a valid name", "use at most 63 lower-case letters, digits and `-`";
    NamespaceIgnored = 1107 Warning, "a namespace on a kind that has none", "remove `metadata.namespace`";
    DuplicateObject = 1108 Error, "the same object is defined twice", "remove or rename one";
    KindUnknown = 1109 Warning, "a kind that its API does not have; the object is skipped", "correct `kind` or `apiVersion`";
    KindNotServed = 1110 Warning, "a kind of the Gateway API that is not served yet; the object is skipped", "nothing to do, if it is meant for others";
    AnnotationUnknown = 1111 Warning, "an annotation of ringway's that the kind does not have; it is ignored", "remove it, or check its spelling";

    // 12xx: the schema.
    MissingField = 1201 Error, "a required field is missing", "add it";
    WrongType = 1202 Error, "a value of the wrong type", "write a value of the expected type";
    UnknownField = 1203 Warning, "a field that the kind does not have; it is ignored", "remove it, or check its spelling and indentation";
    NotOneOf = 1204 Error, "a value that is not among the allowed ones", "use one of the allowed values";
    TooShort = 1205 Error, "a text shorter than allowed", "write a value, or remove the field";
    TooLong = 1206 Error, "a text longer than allowed", "shorten it";
    TooFewItems = 1207 Error, "a list with fewer items than required", "add items";
    TooManyItems = 1208 Error, "a list with more items than allowed", "remove items, or spread them over several objects";
    TooSmall = 1209 Error, "a number below the smallest allowed", "raise it";
    TooLarge = 1210 Error, "a number above the largest allowed", "lower it";
    Malformed = 1211 Error, "a text of the wrong form", "write it in the expected form";
    DuplicateItem = 1212 Error, "two items of a list share what must tell them apart", "remove or rename one";
    DuplicateValue = 1213 Error, "a value appears twice in a list of distinct values", "remove one";
    TooManyEntries = 1214 Error, "a map with more entries than allowed", "remove entries";
    MoreFindings = 1215 Error, "an object with more findings than are listed", "mend the listed ones first";

    // 13xx: Gateway and ListenerSet.
    TlsOnPlaintext = 1301 Error, "`tls` on a listener whose protocol is HTTP, TCP or UDP", "remove `tls`, or use HTTPS or TLS";
    HttpsNotTerminated = 1302 Error, "an HTTPS listener whose TLS mode is not Terminate", "use `mode: Terminate`, or protocol TLS to pass through";
    TlsWithoutMode = 1303 Error, "a TLS listener without `tls`", "add `tls` with its mode";
    HostnameOnLayer4 = 1304 Error, "a hostname on a TCP or UDP listener", "remove `hostname`";
    ListenerClash = 1305 Error, "two listeners share port, protocol and hostname", "change one of the three";
    NoCertificate = 1306 Error, "a terminating listener names no certificate", "add `certificateRefs`";
    AddressNotIp = 1307 Error, "an address of type IPAddress that is not one", "write an IPv4 or IPv6 address, or change the type";
    AddressNotHostname = 1308 Error, "an address of type Hostname that is not one", "write a DNS name";
    DuplicateAddress = 1309 Error, "the same address is asked for twice", "remove one";

    // 14xx: routes.
    ParentNotDistinct = 1401 Error, "two references to one parent, of which one does not say which part of it", "give each a `sectionName` or `port`";
    ParentTwice = 1402 Error, "two references to the same part of one parent", "remove one";
    RuleNameTwice = 1403 Error, "two rules of a route share a name", "rename one";
    TooManyMatches = 1404 Error, "more than 128 matches in one route", "spread them over several routes";
    BackendWithoutPort = 1405 Error, "a reference to a Service without a port", "add `port`";
    FilterOfOtherType = 1406 Error, "a filter with the settings of another type", "remove them or change `type`";
    FilterWithoutSettings = 1407 Error, "a filter without the settings that its type needs", "add them";
    FilterRepeated = 1408 Error, "a filter that may appear once appears again", "merge them into one";
    RedirectAndRewrite = 1409 Error, "a redirect and a rewrite together", "keep one";
    RedirectWithBackends = 1410 Error, "a redirect in a rule that has backends", "remove the backends or the redirect";
    PrefixNotUnique = 1411 Error, "a replaced prefix in a rule that does not match exactly one PathPrefix", "give the rule one match, on a PathPrefix";
    PathChangeIncomplete = 1412 Error, "a path change without the value that its type needs", "add it";
    PathChangeOfOtherType = 1413 Error, "a path change with the value of another type", "remove it or change `type`";
    PathNotAbsolute = 1414 Error, "a path that does not start with `/`", "start it with `/`";
    PathNotCanonical = 1415 Error, "a path that no request can have: it holds `//`, a dot segment, `%2F` or `#`", "write the path as it is after normalisation";
    PathCharacters = 1416 Error, "a path with characters that must be escaped", "escape them as `%XX`";
    MirrorShareTwice = 1417 Error, "a mirror with both `percent` and `fraction`", "keep one";
    FractionAboveOne = 1418 Error, "a fraction above one", "lower the numerator";
    WildcardNotAlone = 1419 Error, "`*` beside other values of a CORS list", "keep `*` alone, or remove it";
    AuthOfOtherProtocol = 1420 Error, "external authorization whose settings do not fit its protocol", "give the settings of `protocol`, and no others";
    PermanentWithoutTimeout = 1421 Error, "a permanent session cookie without `absoluteTimeout`", "add `absoluteTimeout`";
    CookieSettingsOnHeader = 1422 Error, "cookie settings for a session kept in a header", "remove `cookieConfig`, or use `type: Cookie`";
    BackendTimeoutLonger = 1423 Error, "the backend request timeout is longer than the request timeout", "lower `backendRequest`";
    MethodMatchEmpty = 1424 Error, "a gRPC method match without service and method", "add one of them, or remove the match";
    MethodMatchCharacters = 1425 Error, "a gRPC service or method name with characters that none can have", "correct the name, or use `type: RegularExpression`";
    HostnameIsIp = 1426 Error, "an IP address as the hostname of a TLSRoute", "write a DNS name: clients send no SNI for addresses";

    // 15xx: policies and backends.
    CaTwice = 1501 Error, "both CA references and well-known CAs", "keep one";
    CaMissing = 1502 Error, "neither CA references nor well-known CAs", "add one";
    SubjectOfOtherType = 1503 Error, "a subject alternative name whose value does not fit its type", "give the value of `type`, and no other";
    TargetNotDistinct = 1504 Error, "two references to one target, of which one does not say which part of it", "give each a `sectionName`";
    TargetTwice = 1505 Error, "two references to the same part of one target", "remove one";
    ExternalHostnameMismatch = 1506 Error, "`externalHostname` does not fit the backend's type", "set it for type ExternalHostname only";
    HostnameInCluster = 1507 Error, "an external hostname inside the cluster", "refer to the Service instead";
    ClientCertificateMismatch = 1508 Error, "a client certificate does not fit the TLS mode", "set `clientCertificateRef` for mode ClientAndServer only";

    // 16xx: kinds of Kubernetes itself.
    ServicePortWithoutName = 1601 Error, "a Service with several ports, one of them without a name", "name every port";
    ServicePortTwice = 1602 Error, "two ports of a Service share name, or number and protocol", "change one";
    ExternalNameMissing = 1603 Error, "a Service of type ExternalName without a valid name", "set `externalName` to a DNS name";
    ClusterIpMalformed = 1604 Error, "a cluster IP that is neither an address nor None", "write an address or `None`, or remove it";
    EndpointOfOtherFamily = 1605 Error, "an endpoint address that does not fit the slice's type", "correct the address or `addressType`";
    SliceWithoutService = 1606 Warning, "an EndpointSlice that names no Service", "add the label `kubernetes.io/service-name`";
    NotBase64 = 1607 Error, "secret data that is not base64", "encode it, or use `stringData`";
    TlsSecretIncomplete = 1608 Error, "a TLS Secret without certificate or key", "add `tls.crt` and `tls.key`";

    // 20xx: gateways as a whole, by their status.
    ClassMissing = 2001 Error, "a Gateway of a class that does not exist", "correct `gatewayClassName`, or add the GatewayClass";
    GatewayNotServed = 2002 Warning, "a Gateway of a class that is another controller's", "nothing to do, if it is meant for others";
    ClassNotAccepted = 2003 Error, "a GatewayClass that is not accepted", "remove what is not supported";
    GatewayNotAccepted = 2004 Error, "a Gateway that is not accepted", "remove what is not supported";
    AddressNotUsable = 2005 Error, "an address that the Gateway cannot have", "use an address of this machine, or none";
    GatewayReferenceUnresolved = 2006 Error, "a Gateway's reference that leads nowhere", "add the object, or correct the reference";
    ClientsUnverified = 2007 Warning, "clients without a valid certificate are let in", "use AllowValidOnly, unless this is wanted";
    NotUnderstood = 2008 Warning, "an annotation that is not understood; it is ignored", "correct its value";

    // 21xx: listeners, by their status.
    ListenerConflict = 2101 Error, "listeners that cannot be told apart", "change port, protocol or hostname of one";
    PortUnavailable = 2102 Error, "a port that another Gateway has", "use another port or address";
    ListenerUnsupported = 2103 Error, "a listener that is not possible as written", "correct the field";
    CertificateUnusable = 2104 Error, "a certificate that is missing or cannot be used", "add the Secret with `tls.crt` and `tls.key`, or correct it";
    ListenerGrantMissing = 2105 Error, "a certificate or CA of another namespace, without a ReferenceGrant", "add a ReferenceGrant there, or move the object";
    AuthorityUnusable = 2106 Error, "a CA certificate that is missing or cannot be used", "add the ConfigMap with `ca.crt`, or correct it";
    RouteKindImpossible = 2107 Error, "a kind of route that the listener's protocol cannot serve", "remove the kind";
    HostnamesOverlap = 2108 Warning, "listeners of one port whose hostnames overlap", "give them disjoint hostnames, unless clients ask again after a 421";
    ListenerSetRefused = 2109 Error, "a ListenerSet that its Gateway does not take", "allow its namespace in the Gateway's `allowedListeners`";
    ListenerIdle = 2110 Notice, "a listener without routes; it answers 404 or closes", "attach a route, or remove it";
    ListenerProblem = 2111 Error, "a listener that does not serve", "correct what is named";
    CertificateNamesOverlap = 2112 Notice, "listeners of one port whose certificates have names in common", "give each a certificate of its own names, unless clients ask again after a 421";
    CertificateRefused = 2113 Error, "a certificate that TLS refuses, or one with another's private key", "put a certificate of X.509 version 3 and the private key that belongs to it into the Secret";
    CertificateUntimely = 2114 Warning, "a certificate that is expired or not yet valid", "renew it, or wait until its time";

    // 22xx: routes, by their status.
    ParentMissing = 2201 Error, "a parent that does not exist", "add it, or correct the reference's name and namespace";
    ParentNotServed = 2202 Warning, "a parent that ringway does not serve", "nothing to do, if it is meant for others";
    RouteWithoutParents = 2203 Warning, "a route that names no parent and so attaches to nothing", "add `parentRefs`";
    NoMatchingListener = 2204 Error, "a parent that has no such listener", "correct `sectionName` or `port`, or remove them";
    NotAllowed = 2205 Error, "no listener of the parent allows this route", "allow its kind and namespace in the listener's `allowedRoutes`";
    NoCommonHostname = 2206 Error, "no hostname in common with any listener of the parent", "correct the hostnames of one";
    RouteConflict = 2207 Error, "an older route has the same place", "change the hostnames or remove one";
    RouteUnsupported = 2208 Error, "a route that is not possible as written", "correct the field";
    RuleDropped = 2209 Error, "a rule that is not possible as written; requests for it are answered by 500", "correct the field";
    BackendMissing = 2210 Error, "a backend or port that does not exist", "add the Service, or correct the reference's name, namespace and port";
    GrantMissing = 2211 Error, "a backend that the route may not use", "add a ReferenceGrant in the backend's namespace";
    BackendKindUnknown = 2212 Error, "a reference to a kind that cannot be there", "refer to a Service or XBackend";
    BackendProtocol = 2213 Error, "a backend whose protocol the route cannot speak", "correct the Service's `appProtocol`, or the XBackend's `protocol`";
    RouteProblem = 2214 Error, "a route that does not serve", "correct what is named";
    ExternalNameRefused = 2215 Error, "a Service of type ExternalName as a backend", "use an XBackend, or allow it with `--allow-external-name`";
    NotServedYet = 2216 Warning, "a field that is not served yet; it is ignored", "remove it, or do without what it asks for";
    RouteShadowed = 2217 Warning, "an older route has the listener, or the hostname on it", "remove one, or give it a listener of its own";
    MatchShadowed = 2218 Warning, "an earlier rule has the same match for the same hostname", "change the match or the hostname, or remove one";

    // 23xx: policies and backends, by their status.
    TargetMissing = 2301 Error, "a policy for a target that does not exist", "add the Service, or correct the reference's name and section";
    PolicyConflict = 2302 Error, "an older policy is in force for the same target", "remove one";
    PolicyAuthority = 2303 Error, "a policy's CA certificate that is missing or cannot be used; connections to its target fail", "add the ConfigMap with `ca.crt`, or correct it";
    PolicyProblem = 2304 Error, "a policy that is not in force", "correct the field";
    PolicyIdle = 2305 Notice, "a policy for Services that no route of ringway's leads to", "nothing to do, if it is meant for others";
    BackendProblem = 2306 Error, "a backend that cannot be used", "correct the field";
    BackendIdle = 2307 Notice, "a backend that no route leads to", "refer to it, or remove it";

    // 24xx: objects without status.
    Remark = 2401 Warning, "an object that does not do what it says", "correct the value that is named";
}

impl Code {
    /// The number, without its prefix.
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RW{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_exactly_these_codes() {
        let documented = include_str!("../../../docs/validation-codes.md");
        let table: String = Code::ALL
            .iter()
            .map(|code| {
                format!("| {code} | {} | {} | {} |\n", code.severity(), code.meaning(), code.remedy())
            })
            .collect();
        let shown: String = documented
            .lines()
            .filter(|line| line.starts_with("| RW"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(shown, table, "docs/validation-codes.md must hold this table:\n{table}");
    }

    #[test]
    fn codes_are_in_order() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.number() < b.number()));
    }
}
