/** AWS's SDK would warn of Node 20 in every preview and command; this project supports it by pinning the SDK's version. */
process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";
