"""Checks recorded inputs of AWS resources against AWS's own service models, which botocore carries.

stdin: a JSON list of {type, name, inputs}. For each resource, the request that makes it is put together and checked by
botocore's own parameter validator, and for enumerations, patterns and lengths, which that one leaves out.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

Request = dict[str, Any]
Shape = Any  # of botocore.model, whose members are computed when they are first asked for: no checker sees their types

# What makes a resource. ARNs and ids in it are as the mocks give them.
OPERATIONS: dict[str, tuple[str, str]] = {
    "aws:cloudwatch/logGroup:LogGroup": ("logs", "CreateLogGroup"),
    "aws:ec2/eip:Eip": ("ec2", "AllocateAddress"),
    "aws:ec2/internetGateway:InternetGateway": ("ec2", "CreateInternetGateway"),
    "aws:ec2/natGateway:NatGateway": ("ec2", "CreateNatGateway"),
    "aws:ec2/route:Route": ("ec2", "CreateRoute"),
    "aws:ec2/routeTable:RouteTable": ("ec2", "CreateRouteTable"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": ("ec2", "AssociateRouteTable"),
    "aws:ec2/securityGroup:SecurityGroup": ("ec2", "CreateSecurityGroup"),
    "aws:ec2/subnet:Subnet": ("ec2", "CreateSubnet"),
    "aws:ec2/vpc:Vpc": ("ec2", "CreateVpc"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("ec2", "CreateVpcEndpoint"),
    "aws:ecr/repository:Repository": ("ecr", "CreateRepository"),
    "aws:eks/accessEntry:AccessEntry": ("eks", "CreateAccessEntry"),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": ("eks", "AssociateAccessPolicy"),
    "aws:eks/cluster:Cluster": ("eks", "CreateCluster"),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": ("eks", "CreatePodIdentityAssociation"),
    "aws:iam/role:Role": ("iam", "CreateRole"),
    "aws:iam/rolePolicy:RolePolicy": ("iam", "PutRolePolicy"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ("iam", "AttachRolePolicy"),
    "aws:kms/key:Key": ("kms", "CreateKey"),
    "aws:s3/bucket:Bucket": ("s3", "CreateBucket"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ("s3", "PutBucketLifecycleConfiguration"),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": ("s3", "PutBucketOwnershipControls"),
    "aws:s3/bucketPolicy:BucketPolicy": ("s3", "PutBucketPolicy"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ("s3", "PutPublicAccessBlock"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "s3",
        "PutBucketEncryption",
    ),
    "aws:s3/bucketVersioning:BucketVersioning": ("s3", "PutBucketVersioning"),
}

# Inputs that the provider turns into another call, or that concern only itself.
ELSEWHERE = {
    "aws:cloudwatch/logGroup:LogGroup": {"retentionInDays"},
    "aws:ec2/internetGateway:InternetGateway": {"vpcId"},
    "aws:ec2/subnet:Subnet": {"mapPublicIpOnLaunch"},
    "aws:ec2/securityGroup:SecurityGroup": {"ingress"},
    "aws:ec2/vpc:Vpc": {"enableDnsHostnames", "enableDnsSupport"},
    "aws:ecr/repository:Repository": {"forceDelete"},
    "aws:kms/key:Key": {"enableKeyRotation", "deletionWindowInDays"},
    "aws:s3/bucket:Bucket": {"forceDestroy"},
}

# The provider's name of a member, where it is not the API's own.
RENAMED = {
    "aws:ecr/repository:Repository": {"name": "repositoryName"},
    "aws:cloudwatch/logGroup:LogGroup": {"name": "logGroupName"},
    "aws:iam/role:Role": {"assumeRolePolicy": "AssumeRolePolicyDocument"},
    "aws:iam/rolePolicy:RolePolicy": {"role": "RoleName", "policy": "PolicyDocument"},
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": {"role": "RoleName"},
    "aws:ec2/securityGroup:SecurityGroup": {"name": "GroupName"},
    "aws:ec2/vpcEndpoint:VpcEndpoint": {"serviceName": "ServiceName"},
}


def request_of(kind: str, name: str, inputs: Request) -> Request:
    """The members of the request, before they are capitalised."""
    renamed = RENAMED.get(kind, {})
    given = {renamed.get(k, k): v for k, v in inputs.items() if k not in ELSEWHERE.get(kind, set()) and k != "tags"}
    special = SPECIAL.get(kind)
    return special(given, name) if special else given


def wrap(member: str, *keys: str) -> Callable[[Request, str], Request]:
    """S3 takes most of its settings in a block of their own."""
    return lambda given, _: {"bucket": given["bucket"], member: {key: given[key] for key in keys}}


def cluster(given: Request, _: str) -> Request:
    config = given.pop("vpcConfig")
    logs = {"clusterLogging": [{"types": given.pop("enabledClusterLogTypes"), "enabled": True}]}
    encryption = [given.pop("encryptionConfig")]
    return {**given, "resourcesVpcConfig": config, "logging": logs, "encryptionConfig": encryption}


def encryption(given: Request, _: str) -> Request:
    rules = []
    for rule in given["rules"]:
        default = rule["applyServerSideEncryptionByDefault"]
        key = {"SSEAlgorithm": default["sseAlgorithm"], "KMSMasterKeyID": default["kmsMasterKeyId"]}
        blocked = {"EncryptionType": rule["blockedEncryptionTypes"]}
        rules.append(
            {
                "ApplyServerSideEncryptionByDefault": key,
                "BucketKeyEnabled": rule["bucketKeyEnabled"],
                "BlockedEncryptionTypes": blocked,
            }
        )
    return {"bucket": given["bucket"], "ServerSideEncryptionConfiguration": {"rules": rules}}


def lifecycle(given: Request, _: str) -> Request:
    rules = [
        {"ID" if key == "id" else key: value for key, value in rule.items()}
        for rule in json.loads(json.dumps(given["rules"]))
    ]
    return {"bucket": given["bucket"], "LifecycleConfiguration": {"rules": rules}}


SPECIAL: dict[str, Callable[[Request, str], Request]] = {
    "aws:eks/cluster:Cluster": cluster,
    "aws:iam/role:Role": lambda given, name: {**given, "RoleName": name},
    "aws:iam/rolePolicy:RolePolicy": lambda given, name: {**given, "PolicyName": name},
    "aws:ec2/securityGroup:SecurityGroup": lambda given, name: {**given, "GroupName": name},
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": lifecycle,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": lambda given, _: {
        "bucket": given["bucket"],
        "OwnershipControls": {"rules": [given["rule"]]},
    },
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": wrap(
        "PublicAccessBlockConfiguration",
        *("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"),
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": encryption,
    "aws:s3/bucketVersioning:BucketVersioning": lambda given, _: {
        "bucket": given["bucket"],
        "VersioningConfiguration": given["versioningConfiguration"],
    },
}


def cased(value: Any, shape: Shape) -> Any:
    """`value` with the names of the model's members, which differ only in their capitals, and in plurals of EC2."""
    if shape.type_name == "structure" and isinstance(value, dict):
        members = {name.lower(): name for name in shape.members}
        out = {}
        for key, item in value.items():
            plain = key.lower()
            singular = plain.removesuffix("s")
            name = members.get(plain) or members.get(singular) or key
            out[name] = cased(item, shape.members[name]) if name in shape.members else item
        return out
    if shape.type_name == "list" and isinstance(value, list):
        return [cased(item, shape.member) for item in value]
    return value


def problems_of(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """What botocore's validator does not look at: enumerations, patterns and the length of texts."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, item in value.items():
            if key in shape.members:
                yield from problems_of(item, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from problems_of(item, shape.member, f"{path}[{index}]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for key, item in value.items():
            yield from problems_of(item, shape.value, f"{path}.{key}")
    elif shape.type_name == "string" and isinstance(value, str):
        if shape.enum and value not in shape.enum:
            yield f"{path}: {value!r} is none of {', '.join(shape.enum)}"
        pattern = shape.metadata.get("pattern")
        if pattern and not matches(pattern, value):
            yield f"{path}: {value!r} does not match {pattern}"
        if len(value) > shape.metadata.get("max", sys.maxsize):
            yield f"{path}: {len(value)} characters are more than {shape.metadata['max']}"


def matches(pattern: str, value: str) -> bool:
    """Patterns are Java's; the few that Python cannot read decide nothing."""
    readable = pattern.replace("\\p{L}", "A-Za-z").replace("\\p{Z}", " ").replace("\\p{N}", "0-9")
    try:
        return re.fullmatch(readable, value, re.DOTALL) is not None
    except re.error:
        return True


def main() -> int:
    session: Any = botocore.session.get_session()
    found: list[str] = []
    resources = json.load(sys.stdin)
    for resource in resources:
        kind, name = resource["type"], resource["name"]
        if kind not in OPERATIONS:
            found.append(f"{kind} {name}: no request is known for it")
            continue
        service, operation = OPERATIONS[kind]
        shape = session.get_service_model(service).operation_model(operation).input_shape
        request = cased(request_of(kind, name, resource["inputs"]), shape)
        report = ParamValidator().validate(request, shape)
        if report.has_errors():
            found.append(f"{kind} {name}: {report.generate_report()}")
        unknown = set(request) - set(shape.members)
        found += [f"{kind} {name}: {operation} has no {member}" for member in sorted(unknown)]
        found += list(problems_of(request, shape, f"{kind} {name}"))
    print(f"checked {len(resources)}")
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
